"""Batches made of groups, each group of one cluster, for `tf_gradvar.ClusterModel`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np

from tf_gradvar.arguments import (
    check_choice,
    check_count,
    check_num_clusters,
    check_probabilities,
    check_seed,
)
from tf_gradvar.assignments import check_none_empty, hash_of, shares_of, sizes_of
from tf_gradvar.data.array_batches import ArrayClusterBatches
from tf_gradvar.data.arrays import check_arrays, is_tf_dataset
from tf_gradvar.data.cluster_ids import ids_of_arrays
from tf_gradvar.data.cluster_sampling import ClusterSampling
from tf_gradvar.data.fingerprint import fingerprint
from tf_gradvar.data.worker_share import WorkerShare, check_owned_by, share_of_worker
from tf_gradvar.sampling.cluster_draws import ORDERS


def cluster_batches(
    data: Any,
    clusters: Any,
    *,
    num_clusters: int,
    group_size: int,
    groups_per_batch: int = 1,
    cluster_probabilities: Any = None,
    seed: int,
    order: str = "random",
    state: dict[str, Any] | None = None,
    shuffle_buffer: int = 10_000,
    read_ahead: bool = True,
    run_length: int = 1,
    owned_by: int | None = None,
    input_context: Any = None,
) -> Any:
    """Return an endless dataset of batches made of single-cluster groups.

    Each of the C groups of a batch draws its cluster with the probabilities q_k, then
    `group_size` examples of that cluster without replacement; a cluster that is used up is
    reshuffled. The examples of a group are contiguous. **The q_k are 1 / K unless you say
    otherwise**: the mean over the batches is then that of clusters of equal weight, not of the
    data.

    Arrays are sampled by index, with random access. Resuming replays the draws of the earlier
    clusters, about 5 microseconds of processor time each, but none with `order="cycle"`. From a
    tf.data dataset, each cluster is read by a filter of its own, so the data is read K times over,
    and once more beforehand to count the clusters (twice where they are an array, to compare the
    order); put `.cache()` before it where it fits into memory. Resuming such a dataset reads what
    was taken again.

    **On JAX**, batches of arrays are drawn by NumPy, without TensorFlow, and are the same batches:
    what is returned is a `keras.utils.PyDataset` that also iterates. A tf.data dataset of single
    examples is read by tf.data there, too. On a GPU or a TPU Keras asks for one batch ahead.

    **Changing the clusters.** With arrays and `read_ahead=False`,
    `dataset.reassign(clusters, cluster_probabilities=None)` holds from the next batch that is
    drawn: batch number n is then what a new dataset of these clusters would hold. The default
    there is not 1 / K but the shares of the clusters in the data, and a cluster of probability
    0 may be empty. `optimizer.recluster` must follow, with the probabilities that
    `dataset.sampling` then has; `tf_gradvar.Recluster` does both. A distribution strategy still
    draws a few batches ahead, of which the step does not know that their clusters are old.

    **Replicas.** A distribution strategy cuts a batch into equal parts, one for each replica, whose
    groups are drawn independently. With several workers, each makes the parts of its own replicas:
    `strategy.distribute_datasets_from_function(batches.for_worker)`, which calls this function
    again with the `input_context` of the worker. From arrays these are the parts of the same
    batches on any number of workers, and `tf_gradvar.training.train_steps` does so by itself
    (unless `reassign` may change the batches); a tf.data dataset is divided, worker w of W reads
    the examples w, w + W, ... and draws from them alone.

    For an optimizer with `buffers="owned"`, pass its number of replicas as `owned_by`: the groups
    of replica r are then of the clusters that it owns (`tf_gradvar.ownership`), drawn with
    p(k|r) = q_k / Q_r. A plain optimizer on such batches is unbiased only where all Q_r are equal.
    With `input_context`, a worker needs examples of its own clusters only and may be given no
    others: data that never leave their worker.

    Args:
        data: Arrays `(x, y)` or `(x, y, sample_weight)` with N examples along axis 0 (x and
            y may be nested), or a finite tf.data.Dataset of such single examples.
        clusters: The cluster of each example, numbers [N] in [0, K) or names (see
            `tf_gradvar.assignments`); or a function of `(x, y)` of one example that returns a
            number (of TensorFlow operations; of NumPy arrays on JAX); or the result of
            `GradientClustering.fit` on the same data. Examples with -1 are not drawn. An array
            for a dataset holds for its order.
        num_clusters: The number of clusters K, each with at least one example.
        group_size: Examples in a group, b. A cluster with fewer repeats some in a group.
        groups_per_batch: Groups in a batch, C. Defaults to 1. Under a distribution
            strategy, a multiple of the number of replicas.
        cluster_probabilities: q_k, `[K]` floats that sum to 1. Defaults to None, which is 1 / K
            each, which trains on clusters of equal weight: classes are rebalanced, and examples
            of small clusters repeat more often. Pass the cluster sizes divided by N,
            `np.bincount(clusters) / len(clusters)`, to train on the data as it is.
        seed: An integer of at most 63 bits; the same seed gives the same batches, whatever
            the global seed.
        order: `"random"` (independent draws, default) or `"cycle"` (all clusters once in
            random order, then again; uniform probabilities only). Cycling lowers the
            variance further when C divides K.
        state: What `dataset.sampling.state(batches_taken)` returned, to go on from there.
            Defaults to None: the start.
        shuffle_buffer: Examples of a cluster that are shuffled at a time, for a
            tf.data.Dataset only. Defaults to 10 000.
        read_ahead: Whether batches are made while the step before is taken (default; on JAX a
            step does not wait for the device). False makes each when it is asked for, so that
            `reassign` holds at once.
        run_length: How many groups in a row are of a cluster that was drawn. Defaults to 1. More
            stand for data that arrive cluster after cluster: read from one shard, or sent by one
            source, for a while.
        owned_by: The number of replicas R each of which draws from its own clusters, for
            `buffers="owned"`. Defaults to None: all draw from all.
        input_context: Of the worker that calls this in `distribute_datasets_from_function`, a
            `tf.distribute.InputContext`. The dataset then holds the batches of its replicas in
            turn, C b / R examples each, and `state` counts steps. Defaults to None: whole batches.

    Returns:
        A dataset of `({"inputs": x, "cluster_ids": ids}, y)` (and sample weights where
        given) with C * b examples and ids int32 [C * b]. Its attribute `sampling` is a
        `ClusterSampling`, and it has the methods `reassign` and, for whole batches, `for_worker`;
        from arrays also `after(batches_taken)`: the batches that `skip` leaves, without making
        those before. Its attribute `divides_exactly` tells whether the parts that `for_worker`
        makes are, and stay, those of the same batches.

    Raises:
        ValueError: If an argument breaks its rule, ids are out of range or not integers, or
            a cluster has no example.

    Example:
        >>> import numpy as np
        >>> from tf_gradvar.data import cluster_batches
        >>> x, y = np.arange(6.0), np.array([0, 0, 0, 1, 1, 1])
        >>> batches = cluster_batches(
        ...     (x, y), y, num_clusters=2, group_size=2, groups_per_batch=2, seed=0, order="cycle")
        >>> for batch, labels in batches.take(1):
        ...     ids = batch["cluster_ids"].numpy()
        >>> print(sorted(ids), bool((ids == labels.numpy()).all()), ids[0] == ids[1])
        [np.int32(0), np.int32(0), np.int32(1), np.int32(1)] True True

    Source: Discover paper, Appendix 7.1 (the input pipeline).

    Cost: C b rows of the arrays are gathered for a batch. The order of a pass is computed index by
    index, so that no permutation is held in memory.
    """
    num_clusters = check_num_clusters(num_clusters)
    group_size = check_count("group_size", group_size, "the examples in a group")
    groups = check_count("groups_per_batch", groups_per_batch, "the groups in a batch")
    probabilities = check_probabilities(cluster_probabilities, num_clusters)
    shuffle_buffer = check_count("shuffle_buffer", shuffle_buffer, "the examples to shuffle")
    _check_order(order, probabilities)
    run_length = check_count("run_length", run_length, "the groups in a row of one cluster")
    owned_by = check_owned_by(owned_by, num_clusters, groups, order, run_length)
    share = share_of_worker(input_context, groups, owned_by)
    seed = check_seed(seed)
    from_dataset = is_tf_dataset(data)
    if from_dataset:
        from tf_gradvar.data.dataset_ids import ids_of_dataset

        examples, ids, known = ids_of_dataset(data, clusters, num_clusters)
    else:
        checked = check_arrays(data, ", or a tf.data.Dataset of such examples")
        known = fingerprint(*checked[:2])
        ids = ids_of_arrays(checked, clusters, num_clusters, known)
    divided = from_dataset and share is not None and share.num_workers > 1 and owned_by is None
    sizes = sizes_of(ids, num_clusters)
    sampling = ClusterSampling(
        num_clusters,
        group_size,
        groups,
        tuple(probabilities or [1.0 / num_clusters] * num_clusters),
        tuple(sizes.tolist()),
        hash_of(ids),
        seed,
        order,
        shuffle_buffer if from_dataset else None,
        known,
        owned_by=owned_by,
        shards=share.num_workers if share is not None and divided else None,
        run_length=run_length,
    )
    sampling = sampling.resumed(state)
    if sampling.blocks is not None:
        sampling.blocks.ownership.masses(sampling.cluster_probabilities)
    if from_dataset:
        from tf_gradvar.data.cluster_filters import batches_by_cluster, divide

        if share is not None and divided:
            examples, ids = divide(examples, ids, share)
            sizes = sizes_of(ids, num_clusters)
        _check_drawn_from(sizes, sampling, share)
        dataset = batches_by_cluster(examples, sizes, sampling, share)
    else:
        _check_drawn_from(sizes, sampling, share)
        make, follow = _batches_of_arrays(checked, ids, sampling, read_ahead, share)
        dataset = make(sampling)
    if read_ahead and hasattr(dataset, "prefetch"):
        dataset = dataset.prefetch(-1)  # as many as tf.data finds best
    dataset.sampling = sampling
    if not from_dataset:  # else `skip` is as good
        dataset.after = lambda batches_taken: make(sampling.after(batches_taken))
    dataset.reassign = _refuse_to_reassign
    if not from_dataset and not read_ahead and owned_by is None and share is None:
        dataset.reassign = functools.partial(_reassign, dataset, follow, checked)
    dataset.divides_exactly = share is None and not from_dataset and read_ahead
    if share is None:
        dataset.for_worker = lambda input_context: cluster_batches(
            data,
            clusters,
            num_clusters=num_clusters,
            group_size=group_size,
            groups_per_batch=groups,
            cluster_probabilities=probabilities,
            seed=seed,
            order=order,
            state=state,
            shuffle_buffer=shuffle_buffer,
            read_ahead=read_ahead,
            run_length=run_length,
            owned_by=owned_by,
            input_context=input_context,
        )
    return dataset


def _batches_of_arrays(
    data: tuple[Any, ...],
    ids: np.ndarray,
    sampling: ClusterSampling,
    read_ahead: bool,
    share: WorkerShare | None,
) -> tuple[Callable[[ClusterSampling], Any], Callable[[np.ndarray, list[float]], None]]:
    """Return what makes the batches, and the function by which they take other clusters."""
    if keras.backend.backend() != "tensorflow" and share is None:
        batches = ArrayClusterBatches(data, ids, sampling)
        return batches.with_sampling, batches.follow
    from tf_gradvar.data.cluster_stream import ClusterTables, batches_by_index
    from tf_gradvar.data.example_dataset import as_tensors

    tables = ClusterTables.of(ids, sampling.cluster_probabilities, can_change=not read_ahead)
    make = functools.partial(
        batches_by_index, as_tensors(data), tables, read_ahead=read_ahead, share=share
    )
    return make, tables.follow


def _check_drawn_from(
    sizes: np.ndarray, sampling: ClusterSampling, share: WorkerShare | None
) -> None:
    """Raise unless every cluster that is drawn from here has an example here."""
    if share is not None:
        ownership = None if sampling.blocks is None else sampling.blocks.ownership
        drawn = share.clusters(ownership, sampling.num_clusters)
        elsewhere = ~np.isin(np.arange(sampling.num_clusters), drawn)
        sizes = np.where(elsewhere, 1, sizes)
    check_none_empty(sizes, "clusters")


def _refuse_to_reassign(clusters: Any = None, cluster_probabilities: Any = None) -> NoReturn:
    raise ValueError(
        "`reassign` needs cluster batches that are drawn from arrays when they are asked for "
        "(drawn ahead they would have outdated clusters), whole, of clusters nobody owns. Make "
        "them with `cluster_batches((x, y), ..., read_ahead=False)`."
    )


def _reassign(
    dataset: Any,
    follow: Callable[[np.ndarray, list[float]], None],
    data: tuple[Any, ...],
    clusters: Any,
    cluster_probabilities: Any = None,
) -> None:
    """Draw from other clusters from the next batch on; `cluster_batches` describes it."""
    sampling = dataset.sampling
    k = sampling.num_clusters
    ids = ids_of_arrays(data, clusters, k, sampling.data)
    sizes = sizes_of(ids, k)
    probabilities = check_probabilities(cluster_probabilities, k) or shares_of(ids, k).tolist()
    _check_order(sampling.order, probabilities)
    check_none_empty(np.where(np.array(probabilities) > 0, sizes, 1), "clusters")
    follow(ids, probabilities)
    dataset.sampling = dataclasses.replace(
        sampling,
        cluster_probabilities=tuple(probabilities),
        cluster_sizes=tuple(sizes.tolist()),
        cluster_ids=hash_of(ids),
    )


def _check_order(order: str, probabilities: list[float] | None) -> None:
    check_choice("order", order, ORDERS)
    if order == "cycle" and probabilities and max(probabilities) - min(probabilities) > 1e-6:
        raise ValueError(
            "`order='cycle'` visits every cluster equally often, so it needs uniform "
            "`cluster_probabilities`: use order='random'. Received: probabilities from "
            f"{min(probabilities):g} to {max(probabilities):g}."
        )
