"""Sums of outer products: the form of Dense, EinsumDense and 1 x 1 convolutions.

Running example, a Dense kernel [I, O] called once on inputs a [B, I]: the form is `Outer` with
`inputs` [B, 1, 1, I] and `output_gradients` [B, 1, 1, O], its squared norms are |a_i|^2 |d_i|^2
(reference: Goodfellow 2015, arXiv:1510.01799) and its sum of squares is (a^2)^T (d^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from tf_gradvar.per_example.forms.projection import Projection

# Up to this many positions the sum of squares is a few large products (a difference has two).
_CLOSED_FORM_POSITIONS = 2


@dataclass(frozen=True)
class Outer(GradientForm):
    """Sums of outer products: `g = sum_t a_t d_t^T`, in each of S groups.

    Attributes:
        inputs: A, `[B, S, T, I]`, with S and I static.
        output_gradients: d, `[B, S, T, O]`, with O static.
        arrangement: Maps `[B, S, I, O]` to `[B, *shape]`. Defaults to None, which drops S = 1.

    Example:
        >>> from tf_gradvar.per_example import Outer, Wanted
        >>> a, d = tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])  # of a Dense layer [2, 1]
        >>> form = Outer(a[:, None, None], d[:, None, None])
        >>> form.explicit().numpy().tolist()
        [[[3.0], [6.0]]]
        >>> form.measure(Wanted(squared_norms=True)).squared_norms.numpy()  # (1 + 4) * 9
        array([45.], dtype=float32)

    Source: Goodfellow 2015, arXiv:1510.01799 (norms, T = 1); Faghri et al. 2020, Appendix B, Eq. 8
    and 9 (several positions).

    Cost: of norms and inner products the smaller of T^2 (I + O) and T I O operations for each
    example and group; of sums of squares I O for T = 1, 3 I O for T = 2, else T I O.
    """

    inputs: tf.Tensor
    output_gradients: tf.Tensor
    arrangement: Callable[[tf.Tensor], tf.Tensor] | None = None

    def raw(self) -> tf.Tensor:
        """`sum_t a_t d_t^T` of each example, `[B, S, I, O]`."""
        return tf.matmul(self.inputs, self.output_gradients, transpose_a=True)

    def arrange(self, raw: tf.Tensor) -> tf.Tensor:
        """`[B, S, I, O]` -> `[B, *shape]`."""
        return tf.squeeze(raw, 1) if self.arrangement is None else self.arrangement(raw)

    def numbers_per_example(self) -> int:
        """The size of the variable."""
        groups, _, rows = self.inputs.shape[1:]
        return groups * rows * self.output_gradients.shape[3]

    def measure(self, wanted: Wanted) -> Measured:
        """In closed form where that is cheaper than forming the gradients."""
        closed = self._positions_at_most(_CLOSED_FORM_POSITIONS)
        if wanted.gradients or (wanted.squares and not closed):
            return super().measure(wanted)
        if wanted.squared_norms and not (closed or self._gram_is_cheaper()):
            return super().measure(wanted)
        a, d = self.inputs, self.output_gradients
        return Measured(
            squared_norms=self._gram_products(self) if wanted.squared_norms else None,
            total=self.arrange_one(_summed_products(a, d)) if wanted.total else None,
            squares=self.arrange_one(self._squares()) if wanted.squares else None,
            sketch=self._sketch(wanted.projection) if wanted.projection is not None else None,
        )

    def inner_products(self, other: GradientForm) -> tf.Tensor:
        """`sum_{t,t'} (a_t . b_t') (d_t . e_t')` where that is cheaper."""
        if isinstance(other, Outer) and self._gram_is_cheaper():
            return self._gram_products(other)
        return super().inner_products(other)

    def joined(self, others: Sequence[Outer]) -> Outer:
        """The positions of all, one after the other."""
        forms = [self, *others]
        return replace(
            self,
            inputs=tf.concat([form.inputs for form in forms], 2),
            output_gradients=tf.concat([form.output_gradients for form in forms], 2),
        )

    def minus(self, other: Outer) -> GradientForm:
        """`a d^T - b e^T = (a - b) d^T + b (d - e)^T`, which does not cancel."""
        if self.inputs.shape[2] is None or self.inputs.shape[2] != other.inputs.shape[2]:
            return super().minus(other)
        a, d, b, e = *self.tensors(), *other.tensors()
        return replace(
            self, inputs=tf.concat([a - b, b], 2), output_gradients=tf.concat([d, d - e], 2)
        )

    def _gram_products(self, other: Outer) -> tf.Tensor:
        a, d, b, e = *self.tensors(), *other.tensors()
        if a.shape[2] == 1 and b.shape[2] == 1:
            return sum_per_example(_inner_products(a, b) * _inner_products(d, e))

        def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
            a, d, b, e = tensors
            grams = tf.matmul(a, b, transpose_b=True) * tf.matmul(d, e, transpose_b=True)
            return sum_per_example(grams), None

        groups, positions, _ = a.shape[1:]
        chunk = examples_in_chunk(2 * groups * positions**2)
        return map_chunks(of_slice, [a, d, b, e], chunk)[0]

    def _squares(self) -> tf.Tensor:
        """`sum_i (sum_t a_t d_t^T)^2 = sum_{t,t'} sum_i (a_t a_t') (d_t d_t')^T`."""
        a, d = self.inputs, self.output_gradients
        if a.shape[2] == 1:
            return _summed_products(tf.square(a), tf.square(d))
        positions = range(a.shape[2])
        terms = []
        for t in positions:
            for u in positions[t:]:
                weight = 1.0 if t == u else 2.0
                products = weight * d[:, :, t] * d[:, :, u] if u > t else tf.square(d[:, :, t])
                terms.append((a[:, :, t] * a[:, :, u], products))
        inputs, gradients = zip(*terms, strict=True)
        return _summed_products(tf.stack(inputs, 2), tf.stack(gradients, 2))

    def _sketch(self, projection: Projection) -> tf.Tensor:
        groups, positions, _ = self.inputs.shape[1:]
        if groups == 1 and positions is not None and self._gram_is_cheaper():
            # Reshaping, not slicing: so that TensorFlow sees one product for kernel and bias.
            a, d = (tf.reshape(t, [-1, positions, t.shape[3]]) for t in self.tensors())
            return projection.of_factors(a, d)
        return super().measure(Wanted(projection=projection)).sketch

    def _positions_at_most(self, limit: int) -> bool:
        positions = self.inputs.shape[2]
        return positions is not None and positions <= limit

    def _gram_is_cheaper(self) -> bool:
        """Whether `T^2 (I + O) <= T I O`; not so for many positions and small kernels."""
        positions, rows = self.inputs.shape[2:]
        columns = self.output_gradients.shape[3]
        if positions is None:
            return False
        return positions == 1 or positions * (rows + columns) <= rows * columns


def as_positions(tensor: tf.Tensor, columns: int) -> tf.Tensor:
    """`[B, ..., C]` -> `[B, 1, T, C]`, where the tensor itself may not know C."""
    positions = product_or_unknown(tensor.shape[1:-1])
    return tf.reshape(tensor, [leading(tensor), 1, positions, columns])


def product_or_unknown(lengths: tf.TensorShape | list[int | None]) -> int:
    """The product, or -1 for `tf.reshape` to find out."""
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else -1


def _inner_products(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Over the last axis; the squares of one tensor are wanted elsewhere, too."""
    return tf.reduce_sum(tf.square(a) if a is b else a * b, -1)


def _summed_products(a: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """`sum_{i,t} a_it d_it^T` from `[B, S, T, I]` and `[B, S, T, O]` -> `[S, I, O]`."""
    groups, _, rows = a.shape[1:]
    if groups > 1:
        return tf.einsum("bsti,bsto->sio", a, d)
    flat_a, flat_d = tf.reshape(a, [-1, rows]), tf.reshape(d, [-1, d.shape[3]])
    return tf.matmul(flat_a, flat_d, transpose_a=True)[tf.newaxis]
