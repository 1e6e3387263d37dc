"""The cluster of each example: an array, a function of the example, or found by clustering."""

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.data.fingerprint import check_same_data, fingerprint


def ids_of_arrays(data, clusters, given):
    """Return the cluster of each example, integers [N], not yet checked for their range.

    Args:
        data: (x, y) or (x, y, sample_weight), tensors.
        clusters: As for `cluster_batches`.
        given: The same as the user gave it, by which results of clustering know their data.
    """
    size = len(keras.tree.flatten(data)[0])
    if hasattr(clusters, "assignments"):
        check_same_data("clusters", clusters, fingerprint(given[0], given[1]))
        clusters = clusters.assignments
    if callable(clusters):
        examples = with_ids(tf.data.Dataset.from_tensor_slices(data), clusters)
        return np.concatenate(list(_only_ids(examples).batch(4096).as_numpy_iterator()))
    ids = np.asarray(clusters)
    if ids.shape != (size,) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"`clusters` must be integers of shape ({size},), the cluster of each example. "
            f"Received shape {ids.shape} and dtype {ids.dtype}. One-hot rows become ids with "
            "`np.argmax(clusters, axis=-1)`."
        )
    return ids


def sizes_of(ids, num_clusters, some_left_out=False):
    """Return the examples of each cluster, K ints, or raise unless all have some."""
    check_range(ids, num_clusters, some_left_out)
    return check_sizes(np.bincount(ids[ids >= 0], minlength=num_clusters))


def check_range(ids, num_clusters, some_left_out):
    """Raise unless ids lie in [0, K), or are -1 where some may be left out."""
    if ids.min() < (-1 if some_left_out else 0) or ids.max() >= num_clusters:
        raise ValueError(
            f"`clusters` must lie in [0, {num_clusters}). Received ids from {ids.min()} to "
            f"{ids.max()}. Renumber them with `np.unique(ids, return_inverse=True)[1]`."
        )


def check_sizes(sizes):
    """Return the sizes as ints, or raise if one is 0."""
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


def with_ids(dataset, clusters):
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


def ids_of_dataset(examples):
    """Return the cluster of each example of what `with_ids` returned, integers [N]."""
    batches = list(_only_ids(examples).batch(4096).as_numpy_iterator())
    if not batches:
        raise ValueError("`data` must have at least one example. Received an empty dataset.")
    return np.concatenate(batches)
