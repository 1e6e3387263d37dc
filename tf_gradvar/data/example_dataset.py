"""Examples as TensorFlow reads them: tensors, or a dataset of single examples."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.data.arrays import refuse_another_order
from tf_gradvar.data.fingerprint import Fingerprint

# Examples that are read from a dataset at a time.
_READ = 1024


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
