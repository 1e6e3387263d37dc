"""Rows of a table: the form of embeddings and of learned positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from tf_gradvar.per_example.forms.chunks import map_chunks
from tf_gradvar.per_example.forms.form import (
    GradientForm,
    Measured,
    Wanted,
    examples_in_chunk,
    leading,
    sum_per_example,
)
from tf_gradvar.per_example.forms.outer import Outer


@dataclass(frozen=True)
class Lookup(GradientForm):
    """Rows of a table that were looked up: `g = sum_t e_{id_t} d_t^T`, `e_r` being unit vectors.

    Attributes:
        ids: Rows that were looked up, int32 `[B, T]`.
        output_gradients: d, `[B, T, O]`.
        rows: Rows of the table.

    Example:
        >>> from tf_gradvar.per_example import Lookup, Wanted
        >>> form = Lookup(tf.constant([[0, 2, 0]]), tf.constant([[[1.0], [2.0], [3.0]]]), rows=3)
        >>> form.explicit().numpy().tolist()
        [[[4.0], [0.0], [2.0]]]
        >>> form.measure(Wanted(squared_norms=True)).squared_norms.numpy()
        array([20.], dtype=float32)

    Cost: of norms and inner products T^2 O operations an example, whatever the rows; of sums and
    their squares one table.
    """

    ids: tf.Tensor
    output_gradients: tf.Tensor
    rows: int

    def raw(self) -> tf.Tensor:
        """The gradients as full tables, `[B, rows, O]`."""
        examples = leading(self.ids)
        flat = self.ids + self.rows * tf.range(examples)[:, tf.newaxis]
        table = self._scatter(flat, self.output_gradients, self.rows * examples)
        return tf.reshape(table, [examples, self.rows, self.output_gradients.shape[2]])

    def numbers_per_example(self) -> int:
        """The size of the table."""
        return self.rows * self.output_gradients.shape[2]

    def measure(self, wanted: Wanted) -> Measured:
        """All but the gradients themselves without a table for each example."""
        if wanted.gradients:
            return super().measure(wanted)
        squares = sketch = None
        if wanted.squares:
            squares = self._scatter(self.ids, self._squares_of_positions(), self.rows)
        if wanted.projection is not None:
            sketch = wanted.projection.of_rows(self.ids, self.output_gradients, self.rows)
        total = None
        if wanted.total:
            total = self._scatter(self.ids, self.output_gradients, self.rows)
        return Measured(
            squared_norms=self.inner_products(self) if wanted.squared_norms else None,
            total=total,
            squares=squares,
            sketch=sketch,
        )

    def knows_products(self, other: GradientForm) -> bool:
        """Those with other rows, and with a table that is a sum of outer products."""
        return isinstance(other, Lookup) or _is_table(other)

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """`sum_{t,t'} [id_t = id'_t'] d_t . d'_t'`, `[B]`."""
        if isinstance(other, Outer) and _is_table(other):
            return self._products_with(other)
        if not isinstance(other, Lookup):
            return super().inner_products(other)

        def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
            ids, d, other_ids, other_d = tensors
            products = tf.matmul(d, other_d, transpose_b=True)
            return sum_per_example(_same(ids, other_ids, d.dtype) * products), None

        tensors = [*self.tensors(), *other.tensors()]
        return map_chunks(of_slice, tensors, self._gram_chunk())[0]

    def joined(self, others: Sequence[Lookup]) -> Lookup:
        """The positions of all, one after the other."""
        forms = [self, *others]
        return replace(
            self,
            ids=tf.concat([form.ids for form in forms], 1),
            output_gradients=tf.concat([form.output_gradients for form in forms], 1),
        )

    def minus(self, other: Lookup) -> Lookup:
        """`d - d'` where both looked up the same row, which does not cancel, else the two."""
        negative = replace(other, output_gradients=-other.output_gradients)
        if self.ids.shape[1] is None or self.ids.shape[1] != other.ids.shape[1]:
            return self.joined([negative])
        same = tf.equal(self.ids, other.ids)[:, :, tf.newaxis]
        zeros = tf.zeros_like(other.output_gradients)
        shared = tf.where(same, other.output_gradients, zeros)
        mine = replace(self, output_gradients=self.output_gradients - shared)
        rest = tf.where(same, zeros, negative.output_gradients)
        return mine.joined([replace(other, output_gradients=rest)])

    def _products_with(self, table: Outer) -> tf.Tensor:
        """With `sum_t' z_t' h_t'^T`: `sum_{t,t'} z_t'[id_t] (d_t . h_t')`."""

        def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
            ids, d, z, h = tensors
            seen = tf.gather(tf.squeeze(z, 1), ids, axis=2, batch_dims=1)
            products = tf.matmul(tf.squeeze(h, 1), d, transpose_b=True)
            return sum_per_example(seen * products), None

        tensors = [*self.tensors(), *table.tensors()]
        positions = max(self.ids.shape[1] or 1024, table.inputs.shape[2] or 1024)
        chunk = examples_in_chunk(2 * positions**2)
        return map_chunks(of_slice, tensors, chunk)[0]

    def _squares_of_positions(self) -> tf.Tensor:
        """Squares of each row's sum, shared equally by the positions that looked it up."""

        def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
            ids, d = tensors
            same = _same(ids, ids, d.dtype)
            count = tf.reduce_sum(same, -1, keepdims=True)
            return tf.square(tf.matmul(same, d)) / count, None

        return map_chunks(of_slice, self.tensors(), self._gram_chunk())[0]

    def _scatter(self, ids: tf.Tensor, values: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(values, [-1, values.shape[-1]])
        return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows)

    def _gram_chunk(self) -> int:
        positions = self.ids.shape[1] or 1024
        return examples_in_chunk(2 * positions**2)


def _same(ids: tf.Tensor, other: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`[id_t = id'_t']` as numbers, `[B, T, T']`."""
    return tf.cast(tf.equal(ids[:, :, tf.newaxis], other[:, tf.newaxis, :]), dtype)


def _is_table(form: GradientForm) -> bool:
    """Whether a form is a sum of outer products in the layout of the variable."""
    return isinstance(form, Outer) and form.arrangement is None and form.inputs.shape[1] == 1
