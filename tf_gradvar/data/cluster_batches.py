"""Batches made of groups, each group of one cluster, for `tf_gradvar.ClusterModel`."""

import dataclasses
import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.arguments import (
    check_batches_taken,
    check_count,
    check_num_clusters,
    check_probabilities,
    check_seed,
)
from tf_gradvar.data.checks import check_arrays, check_state
from tf_gradvar.data.cluster_choice import ORDERS, cluster_choices, count_choices


@dataclasses.dataclass(frozen=True)
class ClusterSampling:
    """How a dataset of cluster batches draws; its attribute `sampling`.

    Attributes:
        num_clusters: The number of clusters K.
        group_size: Examples in a group, b.
        groups_per_batch: Groups in a batch, C.
        cluster_probabilities: The probability of each cluster, K floats.
        cluster_sizes: Examples of each cluster in the data, K ints.
        cluster_ids: A hash of the clusters of all examples.
        seed: The seed of every draw.
        order: `"random"` or `"cycle"`.
        shuffle_buffer: Examples that are shuffled at a time, or None for arrays.
        batches_taken: Batches that were left out at the start because they were taken
            before.
    """

    num_clusters: int
    group_size: int
    groups_per_batch: int
    cluster_probabilities: tuple[float, ...]
    cluster_sizes: tuple[int, ...]
    cluster_ids: str
    seed: int
    order: str
    shuffle_buffer: int | None = None
    batches_taken: int = 0

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides what batch number n holds."""
        settings = {**dataclasses.asdict(self), "batches_taken": 0}
        return _short_hash(json.dumps(settings, sort_keys=True).encode())

    def state(self, batches_taken: int) -> dict:
        """Return the state after so many batches of this dataset, JSON-plain.

        Args:
            batches_taken: The batches taken from this dataset (not counting those that it
                left out when it was itself resumed). Batches that were only prefetched do
                not count.

        Raises:
            ValueError: If `batches_taken` is not an integer of at least 0.
        """
        total = self.batches_taken + check_batches_taken(batches_taken)
        return {"batches_taken": total, "fingerprint": self.fingerprint()}


def cluster_batches(
    data,
    clusters,
    *,
    num_clusters: int,
    group_size: int,
    groups_per_batch: int = 1,
    cluster_probabilities=None,
    seed: int,
    order: str = "random",
    state: dict | None = None,
    shuffle_buffer: int = 10_000,
) -> tf.data.Dataset:
    """Return an endless dataset of batches made of single-cluster groups.

    Each of the C groups of a batch draws its cluster with the probabilities q_k, then
    `group_size` examples of that cluster without replacement; a cluster that is used up is
    reshuffled. The examples of a group are contiguous.

    Arrays are sampled by index, with random access: resuming costs nothing. From a
    tf.data dataset, each cluster is read by a filter of its own, so the data is read K
    times over and once more beforehand to count the clusters; put `.cache()` before it
    where it fits into memory. Resuming such a dataset reads what was taken again.

    Args:
        data: Arrays `(x, y)` or `(x, y, sample_weight)` with N examples along axis 0 (x and
            y may be nested), or a finite tf.data.Dataset of such single examples.
        clusters: The cluster of each example, integers [N] in [0, K); or a function of
            `(x, y)` of one example (of TensorFlow operations) that returns it.
        num_clusters: The number of clusters K, each with at least one example.
        group_size: Examples in a group, b. A cluster with fewer repeats some in a group.
        groups_per_batch: Groups in a batch, C. Defaults to 1. Under a distribution
            strategy, a multiple of the number of replicas.
        cluster_probabilities: q_k, K floats that sum to 1. Defaults to None, which is 1 / K
            each; pass the cluster sizes divided by N to train on the data as it is.
        seed: An integer of at most 63 bits; the same seed gives the same batches, whatever
            the global seed.
        order: `"random"` (independent draws, default) or `"cycle"` (all clusters once in
            random order, then again; uniform probabilities only). Cycling lowers the
            variance further when C divides K.
        state: What `dataset.sampling.state(batches_taken)` returned, to go on from there.
        shuffle_buffer: Examples of a cluster that are shuffled at a time, for a
            tf.data.Dataset only. Defaults to 10 000.

    Returns:
        A dataset of `({"inputs": x, "cluster_ids": ids}, y)` (and sample weights where
        given) with C * b examples and ids int32 [C * b]. Its attribute `sampling` is a
        `ClusterSampling`.

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
        examples = _with_ids(data, clusters)
        ids = _ids_of_dataset(examples)
    else:
        data = check_arrays(data, ", or a tf.data.Dataset of such examples")
        ids = _ids_of_arrays(data, clusters)
    sampling = ClusterSampling(
        num_clusters,
        group_size,
        groups,
        tuple(probabilities or [1.0 / num_clusters] * num_clusters),
        _sizes_of(ids, num_clusters),
        _short_hash(np.asarray(ids, np.int64).tobytes()),
        seed,
        order,
        shuffle_buffer if isinstance(data, tf.data.Dataset) else None,
    )
    sampling = _resume(sampling, state)
    if isinstance(data, tf.data.Dataset):
        dataset = _from_dataset(examples, sampling)
    else:
        dataset = _from_arrays(data, ids, sampling)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.sampling = sampling
    return dataset


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _check_order(order, probabilities):
    if order not in ORDERS:
        raise ValueError(
            f"`order` must be {' or '.join(map(repr, ORDERS))}. Received: order={order!r}."
        )
    if order == "cycle" and probabilities and max(probabilities) - min(probabilities) > 1e-6:
        raise ValueError(
            "`order='cycle'` visits every cluster equally often, so it needs uniform "
            "`cluster_probabilities`. Received probabilities from "
            f"{min(probabilities):g} to {max(probabilities):g}. Use order='random'."
        )


def _resume(sampling, state):
    taken = check_state(state, sampling.fingerprint(), "cluster batches")
    return dataclasses.replace(sampling, batches_taken=taken)


def _ids_of_arrays(data, clusters):
    size = len(keras.tree.flatten(data)[0])
    if callable(clusters):
        examples = _with_ids(tf.data.Dataset.from_tensor_slices(data), clusters)
        return np.concatenate(list(_only_ids(examples).batch(4096).as_numpy_iterator()))
    ids = np.asarray(clusters)
    if ids.shape != (size,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"`clusters` must be integers of shape ({size},), the cluster of each example. "
            f"Received shape {ids.shape} and dtype {ids.dtype}. One-hot rows become ids with "
            "`np.argmax(clusters, axis=-1)`."
        )
    return ids


def _sizes_of(ids, num_clusters):
    if ids.min() < 0 or ids.max() >= num_clusters:
        raise ValueError(
            f"`clusters` must lie in [0, {num_clusters}). Received ids from {ids.min()} to "
            f"{ids.max()}. Renumber them with `np.unique(ids, return_inverse=True)[1]`."
        )
    return _check_sizes(np.bincount(ids, minlength=num_clusters))


def _check_sizes(sizes):
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        raise ValueError(
            "Every cluster must have an example. Received no example of "
            f"{'clusters' if len(empty) > 1 else 'cluster'} "
            f"{', '.join(map(str, empty[:10]))}{', ...' if len(empty) > 10 else ''} of "
            f"{len(sizes)}. Renumber the clusters with "
            "`np.unique(ids, return_inverse=True)[1]` and lower `num_clusters`."
        )
    return tuple(int(size) for size in sizes)


def _with_ids(dataset, clusters):
    """Return the dataset of (example, cluster id)."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`data` must be a finite dataset: it is read once to count the clusters, then "
            "repeated. Received an infinite one. Remove its `.repeat()`."
        )
    if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) not in (2, 3):
        raise ValueError(
            "`data` must be a dataset of single examples (x, y) or (x, y, sample_weight). "
            f"Received elements {dataset.element_spec}."
        )
    if callable(clusters):

        def tag(*example):
            return example, _as_id(clusters(example[0], example[1]))

        return dataset.map(tag, num_parallel_calls=tf.data.AUTOTUNE)
    ids = tf.convert_to_tensor(np.asarray(clusters))
    size = int(dataset.cardinality())
    if size < 0:  # not known before the dataset was read
        size = int(dataset.reduce(np.int64(0), lambda count, *example: count + 1))
    if ids.shape.rank != 1 or len(ids) != size:
        raise ValueError(
            f"`clusters` must be integers of shape ({size},), the cluster of each element of "
            f"the dataset in its order. Received shape {tuple(ids.shape)}."
        )
    return dataset.enumerate().map(lambda i, example: (example, _as_id(ids[i])))


def _as_id(value):
    value = tf.convert_to_tensor(value)
    if not value.dtype.is_integer or value.shape.rank != 0:
        raise ValueError(
            "`clusters` must give one integer for each example. Received dtype "
            f"{value.dtype.name} and shape {value.shape}. Cast it with `tf.cast(..., tf.int32)`."
        )
    return tf.cast(value, tf.int32)


def _only_ids(examples):
    return examples.map(lambda example, cluster: cluster, num_parallel_calls=tf.data.AUTOTUNE)


def _ids_of_dataset(examples):
    batches = list(_only_ids(examples).batch(4096).as_numpy_iterator())
    if not batches:
        raise ValueError("`data` must have at least one example. Received an empty dataset.")
    return np.concatenate(batches)


def _choices(sampling, start):
    return cluster_choices(
        sampling.cluster_probabilities,
        sampling.seed,
        sampling.order,
        start * sampling.groups_per_batch,
    )


def _as_batch(example, ids):
    inputs, *rest = example
    return ({"inputs": inputs, "cluster_ids": ids}, *rest)


def _from_arrays(data, ids, sampling):
    """Sample by index: position p of cluster k is a permutation of its examples."""
    groups, size = sampling.groups_per_batch, sampling.group_size
    by_cluster = tf.constant(np.argsort(ids, kind="stable"), tf.int64)
    sizes = tf.constant(sampling.cluster_sizes, tf.int64)
    first = tf.cumsum(sizes, exclusive=True)
    drawn = count_choices(
        sampling.cluster_probabilities,
        sampling.seed,
        sampling.order,
        sampling.batches_taken * groups,
    )

    def advance(positions, clusters):
        members = tf.one_hot(clusters, sampling.num_clusters, dtype=tf.int64)
        before = tf.cumsum(members, axis=0, exclusive=True) * size
        starts = tf.gather(positions, clusters) + tf.gather(before, clusters, batch_dims=1)
        return positions + tf.reduce_sum(members, axis=0) * size, (clusters, starts)

    def pick(clusters, starts):
        clusters = tf.repeat(clusters, size)
        position = tf.reshape(starts[:, None] + tf.range(size, dtype=tf.int64), [groups * size])
        many = tf.gather(sizes, clusters)
        seeds = tf.stack(
            [
                tf.fill([groups * size], tf.cast(sampling.seed, tf.int64)),
                tf.cast(clusters, tf.int64),
                position // many,
            ],
            axis=1,
        )
        place = tf.raw_ops.RandomIndexShuffle(index=position % many, seed=seeds, max_index=many - 1)
        rows = tf.gather(by_cluster, tf.gather(first, clusters) + place)
        example = keras.tree.map_structure(lambda leaf: tf.gather(leaf, rows), data)
        return _as_batch(example, tf.ensure_shape(clusters, [groups * size]))

    choices = _choices(sampling, sampling.batches_taken).batch(groups, drop_remainder=True)
    start = tf.constant(drawn * size, tf.int64)
    return choices.scan(start, advance).map(pick, num_parallel_calls=tf.data.AUTOTUNE)


def _from_dataset(examples, sampling):
    """Read each cluster through a filter of its own and interleave their groups."""
    size = sampling.group_size

    def cluster_groups(k):
        mine = examples.filter(lambda example, cluster: tf.equal(cluster, k))
        mine = mine.map(lambda example, cluster: example)
        buffer = min(sampling.shuffle_buffer, sampling.cluster_sizes[k])

        def shuffled_pass(number):
            # Within this function's graph only: the global seed must not change the batches.
            tf.random.set_seed(1 + (sampling.seed * sampling.num_clusters + k) % (2**31 - 2))
            return mine.shuffle(buffer, seed=number, reshuffle_each_iteration=False)

        passes = tf.data.Dataset.counter().flat_map(shuffled_pass)
        return passes.batch(size, drop_remainder=True)

    groups = tf.data.Dataset.choose_from_datasets(
        [cluster_groups(k) for k in range(sampling.num_clusters)],
        _choices(sampling, 0).map(lambda cluster: tf.cast(cluster, tf.int64)),
    )
    named = tf.data.Dataset.zip((groups, _choices(sampling, 0)))

    def join(example, clusters):
        def merge(leaf):
            return tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], 0))

        def sized(leaf):
            whole = merge(leaf)
            whole.set_shape([sampling.groups_per_batch * size, *leaf.shape[2:]])
            return whole

        return _as_batch(keras.tree.map_structure(sized, example), tf.repeat(clusters, size))

    batches = named.batch(sampling.groups_per_batch, drop_remainder=True)
    return batches.map(join, num_parallel_calls=tf.data.AUTOTUNE).skip(sampling.batches_taken)
