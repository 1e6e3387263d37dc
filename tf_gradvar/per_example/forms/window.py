"""A window of the rows of a table, the same for all examples: the form of learned positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tf_gradvar.per_example.forms.form import (
    GradientForm,
    Measured,
    Wanted,
    measure_explicit,
    sum_per_example,
)


@dataclass(frozen=True)
class Window(GradientForm):
    """Gradients that are zero outside of some rows.

    Attributes:
        output_gradients: The rows that are not, `[B, T, O]`.
        start: The first of them.
        rows: Rows of the table.
    """

    output_gradients: tf.Tensor
    start: Any
    rows: int

    def raw(self) -> tf.Tensor:
        """The gradients as full tables, `[B, rows, O]`."""
        return self._padded(self.output_gradients)

    def numbers_per_example(self) -> int:
        """The size of the table."""
        return self.rows * self.output_gradients.shape[2]

    def tensors(self) -> list[tf.Tensor]:
        """The one tensor with an example axis."""
        return [self.output_gradients]

    def with_tensors(self, tensors: Any) -> Window:
        """The same rows with other gradients."""
        return replace(self, output_gradients=tensors[0])

    def measure(self, wanted: Wanted) -> Measured:
        """From the rows alone; a sketch from full tables."""
        measured = measure_explicit(self.output_gradients, wanted._replace(projection=None))
        sketch = None
        if wanted.projection is not None:
            sketch = super().measure(Wanted(projection=wanted.projection)).sketch
        gradients = measured.gradients
        return measured._replace(
            total=self._padded_one(measured.total),
            squares=self._padded_one(measured.squares),
            gradients=None if gradients is None else self._padded(gradients),
            sketch=sketch,
        )

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """From the rows alone where both are in the same place."""
        if isinstance(other, Window) and self._is_beside(other):
            return sum_per_example(self.output_gradients * other.output_gradients)
        return super().inner_products(other)

    def minus(self, other: Window) -> GradientForm:
        """The difference of the rows where both are in the same place."""
        if self._is_beside(other):
            return replace(self, output_gradients=self.output_gradients - other.output_gradients)
        return super().minus(other)

    def _is_beside(self, other: Window) -> bool:
        if not isinstance(self.start, int):
            return False
        rows = (self.output_gradients.shape[1], other.output_gradients.shape[1])
        return self.start == other.start and None not in rows and rows[0] == rows[1]

    def _padded_one(self, values: tf.Tensor | None) -> tf.Tensor | None:
        return None if values is None else self._padded(values[tf.newaxis])[0]

    def _padded(self, values: tf.Tensor) -> tf.Tensor:
        after = self.rows - self.start - tf.shape(values)[1]
        padded = tf.pad(values, [[0, 0], [self.start, after], [0, 0]])
        return tf.ensure_shape(padded, [values.shape[0], self.rows, values.shape[2]])
