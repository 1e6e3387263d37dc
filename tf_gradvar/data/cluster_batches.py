"""Batches made of groups, each group of one cluster, for `tf_gradvar.ClusterModel`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.arguments import (
    check_choice,
    check_count,
    check_num_clusters,
    check_probabilities,
    check_seed,
)
from tf_gradvar.assignments import check_none_empty, hash_of, shares_of, sizes_of
from tf_gradvar.data.arrays import as_tensors, check_arrays
from tf_gradvar.data.cluster_ids import ids_of_arrays, ids_of_dataset
from tf_gradvar.data.cluster_sampling import ClusterSampling
from tf_gradvar.data.cluster_stream import ClusterTables, as_cluster_batch, batches_by_index
from tf_gradvar.data.fingerprint import fingerprint
from tf_gradvar.sampling.cluster_choice import ORDERS, choice_edges, choice_numbers, choose


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
) -> tf.data.Dataset:
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

    **Changing the clusters.** With arrays and `read_ahead=False`,
    `dataset.reassign(clusters, cluster_probabilities=None)` holds from the next batch that is
    drawn: batch number n is then what a new dataset of these clusters would hold. The default
    there is not 1 / K but the shares of the clusters in the data, and a cluster of probability
    0 may be empty. `optimizer.recluster` must follow, with the probabilities that
    `dataset.sampling` then has; `tf_gradvar.Recluster` does both. A distribution strategy still
    draws a few batches ahead, of which the step does not know that their clusters are old.

    Args:
        data: Arrays `(x, y)` or `(x, y, sample_weight)` with N examples along axis 0 (x and
            y may be nested), or a finite tf.data.Dataset of such single examples.
        clusters: The cluster of each example, numbers [N] in [0, K) or names (see
            `tf_gradvar.assignments`); or a function of `(x, y)` of one example (of TensorFlow
            operations) that returns a number; or the result of `GradientClustering.fit` on the
            same data. Examples with -1 are not drawn. An array for a dataset holds for its order.
        num_clusters: The number of clusters K, each with at least one example.
        group_size: Examples in a group, b. A cluster with fewer repeats some in a group.
        groups_per_batch: Groups in a batch, C. Defaults to 1. Under a distribution
            strategy, a multiple of the number of replicas.
        cluster_probabilities: q_k, K floats that sum to 1. Defaults to None, which is 1 / K
            each, which trains on clusters of equal weight: classes are rebalanced, and examples
            of small clusters repeat more often. Pass the cluster sizes divided by N,
            `np.bincount(clusters) / len(clusters)`, to train on the data as it is.
        seed: An integer of at most 63 bits; the same seed gives the same batches, whatever
            the global seed.
        order: `"random"` (independent draws, default) or `"cycle"` (all clusters once in
            random order, then again; uniform probabilities only). Cycling lowers the
            variance further when C divides K.
        state: What `dataset.sampling.state(batches_taken)` returned, to go on from there.
        shuffle_buffer: Examples of a cluster that are shuffled at a time, for a
            tf.data.Dataset only. Defaults to 10 000.
        read_ahead: Whether batches are made while the step before is taken (default). False
            makes each when it is asked for, so that `reassign` holds at once.

    Returns:
        A dataset of `({"inputs": x, "cluster_ids": ids}, y)` (and sample weights where
        given) with C * b examples and ids int32 [C * b]. Its attribute `sampling` is a
        `ClusterSampling`, and it has the method `reassign`; from arrays also
        `after(batches_taken)`: the batches that `skip` leaves, without making those before.

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
    """
    num_clusters = check_num_clusters(num_clusters)
    group_size = check_count("group_size", group_size, "the examples in a group")
    groups = check_count("groups_per_batch", groups_per_batch, "the groups in a batch")
    probabilities = check_probabilities(cluster_probabilities, num_clusters)
    shuffle_buffer = check_count("shuffle_buffer", shuffle_buffer, "the examples to shuffle")
    _check_order(order, probabilities)
    seed = check_seed(seed)
    if isinstance(data, tf.data.Dataset):
        examples, ids, known = ids_of_dataset(data, clusters, num_clusters)
    else:
        data = check_arrays(data, ", or a tf.data.Dataset of such examples")
        known = fingerprint(*data[:2])
        ids = ids_of_arrays(data, clusters, num_clusters, known)
    sizes = sizes_of(ids, num_clusters)
    check_none_empty(sizes, "clusters")
    sampling = ClusterSampling(
        num_clusters,
        group_size,
        groups,
        tuple(probabilities or [1.0 / num_clusters] * num_clusters),
        tuple(sizes.tolist()),
        hash_of(ids),
        seed,
        order,
        shuffle_buffer if isinstance(data, tf.data.Dataset) else None,
        known,
    )
    sampling = sampling.resumed(state)
    if isinstance(data, tf.data.Dataset):
        batches = _from_dataset(examples, sampling)
    else:
        tables = ClusterTables.of(ids, sampling.cluster_probabilities, can_change=not read_ahead)
        by_index = functools.partial(
            batches_by_index, as_tensors(data), tables, read_ahead=read_ahead
        )
        batches = by_index(sampling)
    dataset = batches.prefetch(tf.data.AUTOTUNE) if read_ahead else batches
    dataset.sampling = sampling
    if not isinstance(data, tf.data.Dataset):  # else `skip` is as good
        dataset.after = lambda batches_taken: by_index(sampling.after(batches_taken))
    if isinstance(data, tf.data.Dataset) or read_ahead:
        dataset.reassign = _refuse_to_reassign
    else:
        dataset.reassign = functools.partial(_reassign, dataset, tables, data)
    return dataset


def _refuse_to_reassign(clusters: Any = None, cluster_probabilities: Any = None) -> NoReturn:
    raise ValueError(
        "`reassign` needs cluster batches that are drawn from arrays when they are asked for: "
        "those that were drawn ahead would have outdated clusters. Make them with "
        "`cluster_batches((x, y), ..., read_ahead=False)`."
    )


def _reassign(
    dataset: Any,
    tables: ClusterTables,
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
    tables.follow(ids, probabilities)
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


def _choices(sampling: ClusterSampling) -> tf.data.Dataset:
    edges = choice_edges(sampling.cluster_probabilities)
    numbers = choice_numbers(sampling.num_clusters, sampling.seed, sampling.order, 0)
    return numbers.map(lambda number: choose(number[tf.newaxis], edges)[0])


def _from_dataset(examples: tf.data.Dataset, sampling: ClusterSampling) -> tf.data.Dataset:
    """Read each cluster through a filter of its own and interleave their groups."""
    size = sampling.group_size

    def cluster_groups(k: int) -> tf.data.Dataset:
        number = tf.constant(k, tf.int64)
        mine = examples.filter(lambda example, cluster: tf.equal(cluster, number))
        mine = mine.map(lambda example, cluster: example)
        buffer = min(sampling.shuffle_buffer or 1, sampling.cluster_sizes[k])

        def shuffled_pass(number: tf.Tensor) -> tf.data.Dataset:
            # Within this function's graph only: the global seed must not change the batches.
            tf.random.set_seed(1 + (sampling.seed * sampling.num_clusters + k) % (2**31 - 2))
            return mine.shuffle(buffer, seed=number, reshuffle_each_iteration=False)

        passes = tf.data.Dataset.counter().flat_map(shuffled_pass)
        return passes.batch(size, drop_remainder=True)

    groups = tf.data.Dataset.choose_from_datasets(
        [cluster_groups(k) for k in range(sampling.num_clusters)],
        _choices(sampling).map(lambda cluster: tf.cast(cluster, tf.int64)),
    )
    named = tf.data.Dataset.zip((groups, _choices(sampling)))

    def join(example: Any, clusters: tf.Tensor) -> tuple[Any, ...]:
        def merged(leaf: tf.Tensor) -> tf.Tensor:
            whole = tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], 0))
            whole.set_shape([sampling.groups_per_batch * size, *leaf.shape[2:]])
            return whole

        return as_cluster_batch(
            keras.tree.map_structure(merged, example), tf.repeat(clusters, size)
        )

    batches = named.batch(sampling.groups_per_batch, drop_remainder=True)
    return batches.map(join, num_parallel_calls=tf.data.AUTOTUNE).skip(sampling.batches_taken)
