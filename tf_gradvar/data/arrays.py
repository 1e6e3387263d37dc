"""Arrays and structures of arrays, taken apart as Keras takes them.

`[a, b]` and `(a, b)` of arrays, and dicts, are several inputs or outputs; lists of numbers (or of
lists of numbers, or of strings), which are one array anywhere else, are one array here. A pandas
DataFrame is its values, a Series a column `[N, 1]`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.data.fingerprint import Fingerprint

# Examples that are read from a dataset at a time.
_READ = 1024


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


def as_tensors(data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arrays as the tensors that a pipeline reads; lists of them become tuples, as in Keras.

    (A list that leaves a function of `tf.data` would be stacked.)
    """
    tensors = keras.tree.map_structure(tf.convert_to_tensor, data)
    return keras.tree.lists_to_tuples(tensors)


class ExampleDataset:
    """A finite `tf.data.Dataset` of single examples, which is read again and again.

    Args:
        dataset: Of examples (x, y) or (x, y, sample_weight).

    Raises:
        ValueError: An endless dataset, or elements of another form.
    """

    def __init__(self, dataset: tf.data.Dataset):
        if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "`data` must be a finite dataset: it is read once to count the examples, then "
                "again. Remove its `.repeat()`. Received: an infinite dataset."
            )
        if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) not in (2, 3):
            raise ValueError(
                "`data` must be a dataset of single examples (x, y) or (x, y, sample_weight). "
                f"Received: element_spec={dataset.element_spec}."
            )
        self._dataset = dataset

    def fingerprint(self) -> tuple[int, str]:
        """Return the number of examples, and the hash of their x and y in their order."""
        found = Fingerprint()
        for batch in self._batches():
            found.add(batch[:2])
        if not found.count:
            raise ValueError("`data` must have at least one example. Received: an empty dataset.")
        return found.count, found.digest()

    def check_order(self, expected: str) -> None:
        """Read the examples once more, and raise unless they come in the same order."""
        refuse_another_order("data", expected, self.fingerprint()[1])

    def load(self) -> tuple[Any, ...]:
        """Return the examples as arrays: (x, y) or (x, y, sample_weight).

        Raises:
            ValueError: Examples of different shapes, or another order than at the reading before.
        """
        shapes = [spec.shape for spec in keras.tree.flatten(self._dataset.element_spec)]
        if not all(shape.is_fully_defined() for shape in shapes):
            raise ValueError(
                "`data` must be a dataset of single examples of one shape, to be held in memory: "
                "unbatch it with `.unbatch()`, or pad the examples. Received: elements of the "
                f"shapes {shapes}."
            )
        count, digest = self.fingerprint()
        arrays = keras.tree.map_structure(
            lambda spec: np.empty((count, *spec.shape), spec.dtype.as_numpy_dtype),
            self._dataset.element_spec,
        )
        start, found = 0, Fingerprint()
        for batch in self._batches():
            found.add(batch[:2])
            for whole, part in zip(
                keras.tree.flatten(arrays), keras.tree.flatten(batch), strict=True
            ):
                whole[start : start + len(part)] = part
            start += len(keras.tree.flatten(batch)[0])
        refuse_another_order("data", digest, found.digest())
        return arrays

    def _batches(self) -> Any:
        specs = keras.tree.flatten(self._dataset.element_spec)
        same_shape = all(spec.shape.is_fully_defined() for spec in specs)
        return self._dataset.batch(_READ if same_shape else 1).as_numpy_iterator()


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
