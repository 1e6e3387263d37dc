"""The cluster of each example of arrays: an array, a function of the example, or found."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tf_gradvar.assignments import check_assignments
from tf_gradvar.data.fingerprint import check_same_data

NAME = "clusters"


def ids_of_arrays(
    data: tuple[Any, ...], clusters: Any, num_clusters: int, data_fingerprint: str | None
) -> np.ndarray:
    """Return the cluster of each example, int64 [N]: in [0, K), or -1 where it has none.

    Args:
        data: (x, y) or (x, y, sample_weight), NumPy arrays.
        clusters: As for `cluster_batches`.
        num_clusters: K.
        data_fingerprint: Of x and y.
    """
    count = len(keras.tree.flatten(data)[0])
    if hasattr(clusters, "assignments"):
        check_same_data(NAME, clusters, data_fingerprint)
    elif callable(clusters) and keras.backend.backend() == "tensorflow":
        from tf_gradvar.data.dataset_ids import ids_of_function

        clusters = ids_of_function(data, clusters)
    elif callable(clusters):
        clusters = [_id_of_example(data, clusters, i) for i in range(count)]
    return check_assignments(clusters, name=NAME, count=count, num_clusters=num_clusters)


def _id_of_example(data: tuple[Any, ...], clusters: Any, index: int) -> int:
    """Return what a function gives for an example of NumPy arrays."""
    x, y = keras.tree.map_structure(lambda leaf: leaf[index], data[:2])
    value = np.asarray(clusters(x, y))
    if value.dtype.kind not in "biu" or value.shape not in ((), (1,)):
        raise ValueError(
            "`clusters` must give one integer for each example: make one of it with `int(...)`. "
            f"Received: dtype={value.dtype} and shape={value.shape}."
        )
    return int(value.reshape(()))
