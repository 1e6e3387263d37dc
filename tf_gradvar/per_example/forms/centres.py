"""Inner products of per-example gradients with given gradients, and weighted sums of them.

A centre is one gradient of one variable, seen as a matrix [rows, columns] in the layout of the
form's `raw`. K of them come either in full, or as factors of low rank,

    C_k = sum_r left_kr right_kr^T,     so that <C_k, a d^T> = sum_r (a . left_kr) (d . right_kr)

for Dense layers (Faghri et al. 2020, section 3.2). Where forming the examples' gradients is
cheaper than the products with all factors, as for convolutions, one product of matrices with
the full centres does it (Eq. 8 there, for all centres at once).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tf_gradvar.per_example.forms.chunks import map_chunks
from tf_gradvar.per_example.forms.form import GradientForm, leading
from tf_gradvar.per_example.forms.outer import Outer
from tf_gradvar.per_example.forms.patches import Patches, as_sequences


class Factors(NamedTuple):
    """Centres of low rank: `sum_r left_kr right_kr^T`.

    Attributes:
        left: `[K, rows, r]`.
        right: `[K, columns, r]`.
    """

    left: tf.Tensor
    right: tf.Tensor

    def full(self) -> tf.Tensor:
        """The centres, `[K, rows * columns]`."""
        product = tf.matmul(self.left, self.right, transpose_b=True)
        return tf.reshape(product, [-1, math.prod(product.shape[1:])])

    def squared_norms(self) -> tf.Tensor:
        """||C_k||^2, `[K]`."""
        grams = tf.matmul(self.left, self.left, transpose_a=True)
        grams *= tf.matmul(self.right, self.right, transpose_a=True)
        return tf.reduce_sum(grams, [1, 2])


def factor_products(form: GradientForm, factors: Factors) -> tf.Tensor:
    """<g_i, C_k> for centres of low rank, `[B, K]`."""
    if not isinstance(form, Outer) or not _closed_form_pays(form, factors):
        return full_products(form, factors.full())
    num_centres, rank = leading(factors.left), factors.left.shape[2]
    a, d = (tf.squeeze(tensor, 1) for tensor in form.tensors())
    a = tf.matmul(a, _columns(factors.left))
    d = tf.matmul(d, _columns(factors.right))
    products = tf.reshape(tf.reduce_sum(a * d, 1), [-1, num_centres, rank])
    return tf.reduce_sum(products, 2)


def form_products(form: GradientForm, other: GradientForm) -> tf.Tensor:
    """<g_i, h_j> for all pairs with the gradients h of another batch, `[B, B']`."""
    if isinstance(other, Outer) and other.inputs.shape[1] == 1:
        left, right = (tf.transpose(tf.squeeze(t, 1), [0, 2, 1]) for t in other.tensors())
        return factor_products(form, Factors(left, right))
    return full_products(form, _flat(other, other.tensors()))


def full_products(form: GradientForm, centres: tf.Tensor) -> tf.Tensor:
    """<g_i, C_k> for centres `[K, numbers]` in the layout of `raw`, `[B, K]`."""

    def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
        return tf.matmul(_flat(form, tensors), centres, transpose_b=True), None

    return map_chunks(of_slice, form.tensors(), form.chunk_size())[0]


def weighted_sums(form: GradientForm, weights: tf.Tensor) -> tf.Tensor:
    """`sum_i w_ik g_i` from weights `[B, K]`, as matrices `[K, rows, columns]`."""
    if isinstance(form, Outer) and form.inputs.shape[1:3] == (1, 1):
        a, d = (tf.squeeze(tensor, [1, 2]) for tensor in form.tensors())
        weighted = tf.cast(weights, d.dtype)[:, :, tf.newaxis] * d[:, tf.newaxis]
        return tf.einsum("bi,bko->kio", a, weighted)

    def of_slice(tensors: list[tf.Tensor]) -> tuple[None, tf.Tensor]:
        *mine, w = tensors
        flat = _flat(form, mine)
        return None, tf.matmul(tf.cast(w, flat.dtype), flat, transpose_a=True)

    sums = map_chunks(of_slice, [*form.tensors(), weights], form.chunk_size())[1]
    return tf.reshape(sums, [-1, *_matrix_shape(form)])


def mean_factors(form: GradientForm) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Mean input and summed output gradient over the positions, `[B, rows]` and `[B, columns]`.

    Their means over the examples of a cluster are the factors of the paper's rank-1 centre.
    None for forms that are not sums of outer products over positions.
    """
    if isinstance(form, Outer) and form.inputs.shape[1] == 1:
        a, d = (tf.squeeze(tensor, 1) for tensor in form.tensors())
        return tf.reduce_mean(a, 1), tf.reduce_sum(d, 1)
    if isinstance(form, Patches) and form.geometry.groups == 1:
        seen = [tf.reduce_mean(as_sequences(x), 1) for x in form.shifted()]
        return tf.concat(seen, 1), tf.reduce_sum(as_sequences(form.output_gradients), 1)
    return None


def _closed_form_pays(form: Outer, factors: Factors) -> bool:
    """Whether `T K r (I + O)` operations are fewer than `T I O + K I O`."""
    groups, positions, rows = form.inputs.shape[1:]
    columns = form.output_gradients.shape[3]
    num_centres, _, rank = factors.left.shape
    if groups != 1 or positions is None or rank is None:
        return False
    if positions == 1 or num_centres is None:
        return positions == 1
    closed = positions * num_centres * rank * (rows + columns)
    return closed < (positions + num_centres) * rows * columns


def _columns(factors: tf.Tensor) -> tf.Tensor:
    """`[K, rows, r]` -> `[rows, K r]`."""
    return tf.reshape(tf.transpose(factors, [1, 0, 2]), [factors.shape[1], -1])


def _flat(form: GradientForm, tensors: list[tf.Tensor]) -> tf.Tensor:
    """`raw` of a slice as `[b, numbers]`."""
    raw = form.with_tensors(tensors).raw()
    return tf.reshape(raw, [leading(raw), math.prod(raw.shape[1:])])


def _matrix_shape(form: GradientForm) -> tuple[int, int]:
    """Rows and columns of the gradient of one example in the layout of `raw`."""
    shape = form.raw().shape[1:]
    columns = shape[-1] if shape.rank else 1
    return math.prod(shape[:-1]), columns
