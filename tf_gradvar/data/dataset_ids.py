"""The cluster of each example where TensorFlow reads it: of a dataset, or told by a function."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradvar.assignments import check_assignments
from tf_gradvar.data.cluster_ids import NAME
from tf_gradvar.data.example_dataset import ExampleDataset, as_tensors
from tf_gradvar.data.fingerprint import check_same_data


def ids_of_function(data: tuple[Any, ...], clusters: Any) -> np.ndarray:
    """Return what a function of TensorFlow operations gives for each example, integers [N].

    Args:
        data: (x, y) or (x, y, sample_weight), NumPy arrays.
        clusters: A function of (x, y) of one example.
    """
    examples = tf.data.Dataset.from_tensor_slices(as_tensors(data))
    return _read_ids(_with_function(examples, clusters))


def ids_of_dataset(
    dataset: tf.data.Dataset, clusters: Any, num_clusters: int
) -> tuple[tf.data.Dataset, np.ndarray, str | None]:
    """Return the dataset of (example, cluster int64), the clusters, and the data's fingerprint.

    The clusters are as in `ids_of_arrays`. The fingerprint is None where they are a function: then
    nothing depends on the order.

    Args:
        dataset: Of single examples; clusters that are no function belong to its order, which is
            compared at two readings.
        clusters: As for `cluster_batches`.
        num_clusters: K.
    """
    examples = ExampleDataset(dataset)
    if callable(clusters):
        tagged = _with_function(dataset, clusters)
        ids = _read_ids(tagged)
        return tagged, check_assignments(ids, name=NAME, num_clusters=num_clusters), None
    count, digest = examples.fingerprint()
    examples.check_order(digest)
    if hasattr(clusters, "assignments"):
        check_same_data(NAME, clusters, digest)
    ids = check_assignments(clusters, name=NAME, count=count, num_clusters=num_clusters)
    table = tf.constant(ids)
    return dataset.enumerate().map(lambda i, example: (example, table[i])), ids, digest


def _with_function(dataset: tf.data.Dataset, clusters: Any) -> tf.data.Dataset:
    def tag(*example: Any) -> tuple[Any, tf.Tensor]:
        return example, _as_id(clusters(example[0], example[1]))

    return dataset.map(tag, num_parallel_calls=tf.data.AUTOTUNE)


def _as_id(value: Any) -> tf.Tensor:
    """Return the number that a function gave for one example as int64, without wrapping."""
    value = tf.convert_to_tensor(value)
    if not (value.dtype.is_integer or value.dtype.is_bool) or value.shape not in ([], [1]):
        raise ValueError(
            "`clusters` must give one integer for each example: cast it with `tf.cast(..., "
            f"tf.int64)`. Received: dtype={value.dtype.name} and shape={value.shape}."
        )
    if value.dtype == tf.uint64:
        value = tf.minimum(value, tf.constant(2**63 - 1, tf.uint64))
    return tf.reshape(tf.cast(value, tf.int64), [])


def _read_ids(tagged: tf.data.Dataset) -> np.ndarray:
    """Return the clusters of a dataset of (example, cluster)."""
    ids = tagged.map(lambda example, cluster: cluster, num_parallel_calls=tf.data.AUTOTUNE)
    batches = list(ids.batch(4096).as_numpy_iterator())
    if not batches:
        raise ValueError("`data` must have at least one example. Received: an empty dataset.")
    return np.concatenate(batches)
