"""Sketches: a fixed random linear map from the gradient of one variable to a few numbers.

A gradient seen as a matrix G [I, O] is mapped to

    s_r = (1 / sqrt(R)) sum_{i,o} G_io P_ir Q_or,     r = 1 .. R,

with random signs P and Q. For G = sum_t a_t d_t^T this is sum_t (a_t P) * (d_t Q) / sqrt(R), so
that G need not exist. Inner products are kept in expectation over the signs: E <s, s'> = <G, G'>.

Rows and columns are cut into m and n blocks, and each pair of blocks feeds its own R / (m n) of
the numbers: P and Q have zeros elsewhere, and the other numbers are scaled by
sqrt(m n). This costs m and n times less. The variance of the sketch stays the same as long as
the pairs of blocks carry about the same share of the squared norm, and grows towards that of a
sketch of R / (m n) numbers if one pair carries all of it.

The signs depend on the seed, on the layer's and the variable's place in the model and on the
shape, never on the batch or on how the sketch is evaluated: sketches of different batches belong
together. A kernel and a bias share Q (their P are independent), so D Q is computed once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import tensorflow as tf

_ROW_SIGNS, _COLUMN_SIGNS = 0, 1
# More blocks are cheaper, but a gradient that lives in a few of them is sketched less well.
_MOST_COLUMN_BLOCKS = 4
_MIN_NUMBERS_PER_BLOCK = 4


@dataclass(frozen=True)
class Projection:
    """The random linear map of one variable's gradient, seen as a matrix [I, O], to a sketch.

    Attributes:
        size: Numbers in the sketch, R.
        seed: Non-negative integer.
        layer: Index of the layer among the measured ones (selects Q).
        variable: Index of the variable in `model.trainable_variables` (selects P).
        row_blocks: Whether the rows may be split; not so for tables of which an example uses
            few rows.
    """

    size: int
    seed: int
    layer: int
    variable: int
    row_blocks: bool = True

    def of_matrices(self, gradients: tf.Tensor) -> tf.Tensor:
        """Sketch explicit gradients, `[B, R]`.

        Args:
            gradients: `[B, I, O]`.
        """
        rows, columns = gradients.shape[1:]
        m, n, k = self._blocks(rows, columns)
        P = self._row_signs(rows, m, n, k, gradients.dtype)
        if rows == 1:
            return self._scaled(self._of_columns(gradients, n) * P[0, 0], m, n)
        Q = tf.reshape(self._column_signs(columns, n, gradients.dtype), [n, -1, m, k])
        blocks = tf.reshape(gradients, [-1, m, rows // m, n, columns // n])
        mixed = tf.einsum("bminj,njmk->bmink", blocks, Q)
        return self._scaled(tf.reduce_sum(mixed * P, 2), m, n)

    def of_factors(self, inputs: tf.Tensor, output_gradients: tf.Tensor) -> tf.Tensor:
        """Sketch `sum_t a_t d_t^T`, `[B, R]`.

        Args:
            inputs: a, `[B, T, I]`.
            output_gradients: d, `[B, T, O]`.
        """
        positions, rows = inputs.shape[1:]
        columns = output_gradients.shape[-1]
        m, n, k = self._blocks(rows, columns)
        P = tf.reshape(self._row_signs(rows, m, n, k, inputs.dtype), [m, rows // m, n * k])
        a = tf.einsum("bmi,mir->bmr", tf.reshape(inputs, [-1, m, rows // m]), P)
        d = self._of_columns(output_gradients, n)
        d = tf.transpose(tf.reshape(d, [-1, n, m, k]), [0, 2, 1, 3])
        products = tf.reshape(a, [-1, m, n, k]) * d
        if positions != 1:
            length = tf.shape(inputs)[1] if positions is None else positions
            products = tf.reduce_sum(tf.reshape(products, [-1, length, m, n, k]), 1)
        return self._scaled(products, m, n)

    def of_rows(self, ids: tf.Tensor, row_gradients: tf.Tensor, rows: int) -> tf.Tensor:
        """Sketch `sum_t e_{id_t} d_t^T`, `[B, R]`.

        Args:
            ids: Rows, int32 `[B, T]`.
            row_gradients: d, `[B, T, O]`.
            rows: I, the rows of the table.
        """
        columns = row_gradients.shape[-1]
        _, n, k = self._blocks(rows, columns)
        P = self._row_signs(rows, 1, n, k, row_gradients.dtype)
        d = self._of_columns(row_gradients, n)
        signs = tf.gather(tf.reshape(P, [rows, self.size]), ids)
        products = signs * tf.reshape(d, tf.shape(signs))
        return self._scaled(tf.reduce_sum(products, 1), 1, n)

    def _of_columns(self, gradients: tf.Tensor, n: int) -> tf.Tensor:
        """`[..., O]` -> `[positions, n, R / n]`, the same operation for kernel and bias."""
        columns = gradients.shape[-1]
        blocks = tf.reshape(gradients, [-1, n, columns // n])
        return tf.einsum("bnj,njr->bnr", blocks, self._column_signs(columns, n, gradients.dtype))

    def _blocks(self, rows: int, columns: int) -> tuple[int, int, int]:
        """Blocks of rows m and of columns n, and the numbers of each pair."""
        most = max(1, self.size // _MIN_NUMBERS_PER_BLOCK)
        n = math.gcd(columns, self.size, min(most, _MOST_COLUMN_BLOCKS))
        m = math.gcd(rows, self.size // n, max(1, most // n)) if self.row_blocks else 1
        return m, n, self.size // (m * n)

    def _scaled(self, products: tf.Tensor, m: int, n: int) -> tf.Tensor:
        return tf.reshape(products, [-1, self.size]) * math.sqrt(m * n / self.size)

    def _row_signs(self, rows: int, m: int, n: int, k: int, dtype: tf.DType) -> tf.Tensor:
        """P, `[m, I/m, n, k]`."""
        signs = random_signs((self.seed, _ROW_SIGNS, self.variable), rows * n * k)
        return tf.constant(signs.reshape(m, rows // m, n, k).astype(dtype.as_numpy_dtype))

    def _column_signs(self, columns: int, n: int, dtype: tf.DType) -> tf.Tensor:
        """Q, `[n, O/n, R/n]`."""
        signs = random_signs((self.seed, _COLUMN_SIGNS, self.layer), columns * self.size // n)
        return tf.constant(signs.reshape(n, columns // n, -1).astype(dtype.as_numpy_dtype))


@lru_cache(maxsize=256)
def random_signs(key: tuple[int, ...], count: int) -> np.ndarray:
    """`count` values -1 or 1 (int8), the same for the same key on every machine."""
    raw = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).bytes(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(raw, np.uint8), count=count)
    signs = bits.astype(np.int8) * 2 - 1
    signs.setflags(write=False)
    return signs
