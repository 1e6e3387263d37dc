"""Rule for Embedding: the rows that an example looked up, each with its output gradient.

g = sum_t e_{id_t} d_t^T, so rows that were not looked up are zero and nothing of the size of the
table is formed for a single example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import tensorflow as tf

from tf_gradvar.per_example.chunks import map_chunks
from tf_gradvar.per_example.forms import (
    CHUNK_NUMBERS,
    GradientForm,
    Measured,
    Wanted,
    leading,
    sum_per_example,
)
from tf_gradvar.per_example.rule import Rule, Variable


@dataclass(frozen=True)
class Lookup(GradientForm):
    """`g = sum_t e_{id_t} d_t^T`.

    Attributes:
        ids: Rows that were looked up, `[B, T]` int32.
        output_gradients: d, `[B, T, O]`.
        rows: Rows of the table.
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

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """`sum_{t,t'} [id_t = id'_t'] d_t . d'_t'`, `[B]`."""
        if not isinstance(other, Lookup):
            return super().inner_products(other)

        def of_slice(tensors: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            ids, d, other_ids, other_d = tensors
            products = tf.matmul(d, other_d, transpose_b=True)
            return [sum_per_example(_same(ids, other_ids, d.dtype) * products)], []

        tensors = [*self.tensors(), *other.tensors()]
        return map_chunks(of_slice, tensors, self._gram_chunk())[0][0]

    def joined(self, others: Sequence[Lookup]) -> Lookup:
        """The positions of all, one after the other."""
        forms = [self, *others]
        return replace(
            self,
            ids=tf.concat([form.ids for form in forms], 1),
            output_gradients=tf.concat([form.output_gradients for form in forms], 1),
        )

    def minus(self, other: Lookup) -> Lookup:
        """The positions of both, the second with the opposite sign."""
        return self.joined([replace(other, output_gradients=-other.output_gradients)])

    def _squares_of_positions(self) -> tf.Tensor:
        """Squares of each row's sum, shared equally by the positions that looked it up."""

        def of_slice(tensors: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            ids, d = tensors
            same = _same(ids, ids, d.dtype)
            count = tf.reduce_sum(same, -1, keepdims=True)
            return [tf.square(tf.matmul(same, d)) / count], []

        return map_chunks(of_slice, self.tensors(), self._gram_chunk())[0][0]

    def _scatter(self, ids: tf.Tensor, values: tf.Tensor, rows: int | tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(values, [-1, values.shape[-1]])
        return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows)

    def _gram_chunk(self) -> int:
        positions = self.ids.shape[1] or 1024
        return max(1, CHUNK_NUMBERS // (2 * positions**2))


def embedding_rule(
    layer: keras.layers.Embedding, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> list[tuple[Variable, GradientForm]]:
    """Table: the rows that were looked up."""
    examples = leading(inputs)
    ids = tf.reshape(tf.cast(inputs, tf.int32), [examples, -1])
    gradients = tf.reshape(
        output_gradients, [examples, *_positions(output_gradients), layer.output_dim]
    )
    return [(layer.embeddings, Lookup(ids, gradients, layer.input_dim))]


def _positions(gradients: tf.Tensor) -> list[int]:
    lengths = gradients.shape[1:-1].as_list()
    if None in lengths:
        return [-1]
    count = 1
    for length in lengths:
        count *= length
    return [count]


def _same(ids: tf.Tensor, other: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`[id_t = id'_t']` as numbers, `[B, T, T']`."""
    return tf.cast(tf.equal(ids[:, :, tf.newaxis], other[:, tf.newaxis, :]), dtype)


def _plain_table(layer: keras.layers.Embedding) -> bool:
    return not (getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))


EMBEDDING = Rule(embedding_rule, _plain_table)
