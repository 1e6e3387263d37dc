"""Arrays and structures of arrays, taken apart as Keras takes them.

`[a, b]` and `(a, b)` of arrays, and dicts, are several inputs or outputs; lists of numbers (or of
lists of numbers, or of strings), which are one array anywhere else, are one array here. A pandas
DataFrame is its values, a Series a column `[N, 1]`.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np


def as_arrays(data: Any, name: str = "data") -> Any:
    """Return the structure with NumPy arrays in the place of everything that stands for one.

    Args:
        data: An array, a tensor, a pandas object, a list of numbers; or a structure of those. None
            stays None.
        name: The argument, for the message.

    Raises:
        ValueError: A list of lists of different lengths.

    Example:
        >>> import numpy as np
        >>> as_arrays([np.zeros(2), [1, 2]])
        [array([0., 0.]), array([1, 2])]
        >>> as_arrays([[1, 2], [3, 4]])
        array([[1, 2],
               [3, 4]])
    """
    if data is None:
        return None
    if isinstance(data, dict):
        return {key: as_arrays(value, name) for key, value in data.items()}
    if isinstance(data, list | tuple) and _holds_arrays(data):
        parts = [as_arrays(part, name) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
    if hasattr(data, "to_numpy") and hasattr(data, "iloc"):
        return data.to_numpy()[:, np.newaxis] if data.ndim == 1 else data.to_numpy()
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be arrays, structures of arrays, or lists of numbers with the same "
            f"length everywhere. Received: {type(data).__name__}, which NumPy refuses: {error}."
        ) from error


def _holds_arrays(data: Any) -> bool:
    """Return whether the list is a structure: anything in it is an array with an axis."""
    if isinstance(data, dict):
        return True
    if isinstance(data, list | tuple):
        return any(_holds_arrays(part) for part in data)
    return data is None or len(getattr(data, "shape", ())) > 0


def check_arrays(data: Any, alternative: str = "") -> tuple[Any, ...]:
    """Return (x, y) or (x, y, sample_weight) with NumPy arrays for arrays, or raise.

    Args:
        data: What the user gave.
        alternative: What else would do, for the message.

    Raises:
        ValueError: If it is something else, or holds numbers or arrays of different lengths.
    """
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError(
            f"`data` must be (x, y) or (x, y, sample_weight){alternative}. Received: "
            f"{type(data).__name__}"
            f"{f' of length {len(data)}' if isinstance(data, tuple | list) else ''}."
        )
    arrays = tuple(as_arrays(part) for part in data)
    shapes = [np.shape(leaf) for leaf in keras.tree.flatten(arrays)]
    if () in shapes:
        raise ValueError(
            "`data` must hold arrays with the examples along axis 0. Received: a number or None in "
            "place of an array."
        )
    lengths = {shape[0] for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "`data` must have the same number of examples, at least 1, in every array. "
            f"Received: lengths={sorted(lengths)}."
        )
    return arrays


def is_tf_dataset(data: Any) -> bool:
    """Return whether something is a `tf.data.Dataset`, without importing TensorFlow."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(data, tensorflow.data.Dataset)


def refuse_another_order(name: str, before: str, now: str) -> None:
    """Raise where two readings of a dataset have different hashes.

    Args:
        name: The argument of the dataset.
        before: Of the first reading.
        now: Of the second.

    Raises:
        ValueError: Different hashes.
    """
    if before != now:
        raise ValueError(
            f"`{name}` must yield the same examples in the same order at every reading, because "
            "clusters (and whatever else is kept for single examples) belong to their places. "
            "Remove its `shuffle` and random augmentation, call `shuffle(..., "
            "reshuffle_each_iteration=False)` with a `seed`, put `.cache()` behind them, or pass "
            "arrays. Received: a dataset that differed between two readings."
        )
