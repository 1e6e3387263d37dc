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
    """Centres of low rank, `C_k = sum_r left_kr right_kr^T`.

    Attributes:
        left: `[K, rows, r]`.
        right: `[K, columns, r]`.

    Example:
        >>> from tf_gradvar.per_example import Factors
        >>> centres = Factors(tf.constant([[[1.0], [2.0]]]), tf.constant([[[3.0]]]))
        >>> centres.full().numpy(), centres.squared_norms().numpy()
        (array([[3., 6.]], dtype=float32), array([45.], dtype=float32))

    Source: Faghri et al. 2020, section 3.2 (rank 1, and its extension to higher ranks).

    Memory: K r (rows + columns) numbers; `full` makes K rows * columns of them.
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
    """Return <g_i, C_k> for centres of low rank.

    Args:
        form: Of the gradients of B examples.
        factors: Of K centres, in the layout of the form's `raw`.

    Returns:
        `[B, K]`.

    Example:
        >>> from tf_gradvar.per_example import Factors, Outer, factor_products
        >>> a, d = tf.constant([[1.0, 2.0]]), tf.constant([[3.0]])
        >>> form = Outer(a[:, None, None], d[:, None, None])  # g = (3, 6)
        >>> factor_products(form, Factors(a[:, :, None], d[:, :, None])).numpy()
        array([[45.]], dtype=float32)

    Source: Faghri et al. 2020, section 3.2, Eq. 5 (Dense); Appendix B, Eq. 8 and 9.

    Cost: B T K r (I + O) operations for a sum of T outer products [I, O], or those of
    `full_products` where these are fewer.
    """
    if not isinstance(form, Outer) or not _closed_form_pays(form, factors):
        return full_products(form, factors.full())
    num_centres, rank = leading(factors.left), factors.left.shape[2]
    a, d = (tf.squeeze(tensor, 1) for tensor in form.tensors())
    a = tf.matmul(a, _columns(factors.left))
    d = tf.matmul(d, _columns(factors.right))
    products = tf.reshape(tf.reduce_sum(a * d, 1), [-1, num_centres, rank])
    return tf.reduce_sum(products, 2)


def form_products(form: GradientForm, other: GradientForm) -> tf.Tensor:
    """Return <g_i, h_j> for all pairs of gradients of two batches.

    Args:
        form: Of the gradients g of B examples.
        other: Of the gradients h of B' examples, of the same variable.

    Returns:
        `[B, B']`.

    Example:
        >>> from tf_gradvar.per_example import Explicit, form_products
        >>> g = Explicit(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> form_products(g, Explicit(tf.constant([[1.0, 0.0]]))).numpy()
        array([[1.],
               [3.]], dtype=float32)

    Source: Faghri et al. 2020, section 3.2, Eq. 5, and Appendix B, with gradients for centres.

    Cost: that of `factor_products` with B' centres, or, where h is no sum of outer products, its
    gradients and B B' products of them.
    """
    if isinstance(other, Outer) and other.inputs.shape[1] == 1:
        left, right = (tf.transpose(tf.squeeze(t, 1), [0, 2, 1]) for t in other.tensors())
        return factor_products(form, Factors(left, right))
    return full_products(form, _flat(other, other.tensors()))


def full_products(form: GradientForm, centres: tf.Tensor) -> tf.Tensor:
    """Return <g_i, C_k> for centres in full.

    Args:
        form: Of the gradients of B examples.
        centres: `[K, numbers]`, each a gradient in the layout of the form's `raw`.

    Returns:
        `[B, K]`.

    Example:
        >>> from tf_gradvar.per_example import Explicit, full_products
        >>> g = Explicit(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> full_products(g, tf.constant([[1.0, 1.0]])).numpy()
        array([[3.],
               [7.]], dtype=float32)

    Source: Faghri et al. 2020, Appendix B, Eq. 8.

    Cost: the gradients, a slice of examples at a time, and B K products of as many numbers as the
    variable has: B (T + K) I O operations.
    """

    def of_slice(tensors: list[tf.Tensor]) -> tuple[tf.Tensor, None]:
        return tf.matmul(_flat(form, tensors), centres, transpose_b=True), None

    return map_chunks(of_slice, form.tensors(), form.chunk_size())[0]


def weighted_sums(form: GradientForm, weights: tf.Tensor) -> tf.Tensor:
    """Return the weighted sums of gradients, `sum_i w_ik g_i`.

    Args:
        form: Of the gradients of B examples.
        weights: w, `[B, K]`.

    Returns:
        `[K, rows, columns]`, in the layout of the form's `raw`.

    Example:
        >>> from tf_gradvar.per_example import Explicit, weighted_sums
        >>> g = Explicit(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        >>> weighted_sums(g, tf.constant([[0.5], [0.5]])).numpy()
        array([[[2., 3.]]], dtype=float32)

    Source: Faghri et al. 2020, section 3.1, Eq. 4 (the means of clusters, by one-hot weights).

    Cost: B K I O operations beside the gradients, of which a slice exists at a time.
    """
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
    """Return the mean input and the summed output gradient over the positions of each example.

    Their means over the examples of a cluster are the factors of the paper's rank-1 centre.

    Args:
        form: Of the gradients of B examples.

    Returns:
        `[B, rows]` and `[B, columns]`; None for forms that are no sums of outer products over
        positions.

    Example:
        >>> from tf_gradvar.per_example import Outer, mean_factors
        >>> a, d = tf.constant([[[[1.0, 2.0], [3.0, 4.0]]]]), tf.constant([[[[1.0], [5.0]]]])
        >>> left, right = mean_factors(Outer(a, d))
        >>> left.numpy(), right.numpy()
        (array([[2., 3.]], dtype=float32), array([[6.]], dtype=float32))

    Source: Faghri et al. 2020, section 3.2, Eq. 6, and Appendix B.1 (convolutions).

    Cost: one pass over the inputs and the output gradients.
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
