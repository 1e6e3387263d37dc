"""The loss of one output as a quotient of sums over the examples.

Keras reduces the values of a batch, one or several for each example, to a number. With the values
l, sample weights w and mask m at the positions t of example i, a Keras loss of any set S of
examples is

    L(S) = sum_{i in S} n_i / sum_{i in S} d_i,      n_i = sum_t w_it m_it l_it,

    d_i = sum_t m_it          for "sum_over_batch_size" and "mean",
    d_i = sum_t w_it m_it     for "mean_with_sample_weight",

and sum_{i in S} n_i for "sum" and None. The loss of example i alone is that of S = {i}; the loss of
a group of examples is that of S.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from tf_gradvar.keras_internals import get_mask, resolve_loss

# A Keras loss, its name, a function, or a list or dictionary of these (one an output).
LossLike = Any

_SUMS = ("sum", "none", None)


class Terms(NamedTuple):
    """The loss of one output as a quotient of sums: `sum_i n_i / sum_i d_i` of a set of examples.

    Attributes:
        numerators: n, `[B]`, times the weight of the output.
        denominators: d, `[B]`; None for losses that are sums.
    """

    numerators: Any
    denominators: Any

    def of_examples(self) -> Any:
        """The loss of each example alone, `[B]`."""
        if self.denominators is None:
            return self.numerators
        return ops.divide_no_nan(self.numerators, self.denominators)

    def of_group(self, members: Any) -> Any:
        """The loss of some of the examples together, a scalar.

        Args:
            members: 1 for these examples and 0 for the others, `[B]`.
        """
        members = ops.cast(members, self.numerators.dtype)
        total = ops.sum(members * self.numerators)
        if self.denominators is None:
            return total
        return ops.divide_no_nan(total, ops.sum(members * self.denominators))


def terms_of(
    loss: LossLike, y: Any, prediction: Any, weight: Any, *, alone: bool
) -> tuple[Any, Any]:
    """The numerators and denominators of one output, `[B]` each."""
    if not callable(loss) and not isinstance(loss, str):
        raise TypeError(
            "`loss` must be a Keras loss, the name of one, or a function (y_true, y_pred), "
            f"received {loss!r}."
        )
    given = loss
    loss = resolve_loss(loss, y, prediction)
    values = unreduced_values(loss, given, y, prediction)
    _check_one_value_per_example(given, values, prediction)
    mask = _common_mask(get_mask(prediction), get_mask(values))
    _check_one_value_per_position(given, values, mask)
    ones = ops.ones_like(values)
    mask = ones if mask is None else expanded("mask", mask, values) * ones
    factors = mask if weight is None else mask * expanded("sample_weight", weight, values)
    numerators = _sum_positions(factors * values)
    if loss.reduction in _SUMS:
        return numerators, None
    if loss.reduction != "mean_with_sample_weight":
        return numerators, _sum_positions(mask)
    if alone and weight is not None:
        _refuse_weights_that_cancel(weight, values)
    return numerators, _sum_positions(factors)


def unreduced_values(loss: keras.losses.Loss, given: LossLike, y: Any, prediction: Any) -> Any:
    """The values `[B, ...]` that Keras would reduce."""
    dtype = _loss_dtype(loss, prediction)
    cast = ops.cast(prediction, dtype)
    if y is None and not isinstance(given, str | keras.losses.Loss):
        return ops.convert_to_tensor(given(None, cast))
    label = None if y is None else ops.cast(ops.convert_to_tensor(y), dtype)
    values = loss.call(label, cast)
    return ops.convert_to_tensor(values)


def _loss_dtype(loss: Any, prediction: Any) -> str:
    """At least float32, at least what the loss asks for, and never less than the model has."""
    asked = getattr(loss, "dtype", None) or "float32"
    return keras.backend.result_type("float32", asked, prediction.dtype)


def _common_mask(of_prediction: Any, of_values: Any) -> Any:
    """Positions that neither the model nor the loss (`ignore_class`) leaves out."""
    if of_prediction is None or of_values is None:
        return of_values if of_prediction is None else of_prediction
    return ops.logical_and(ops.cast(of_prediction, "bool"), ops.cast(of_values, "bool"))


def expanded(name: str, factor: Any, values: Any) -> Any:
    """The factor with as many axes as the values, trailing ones of length one."""
    factor = ops.cast(ops.convert_to_tensor(factor), values.dtype)
    extra = len(values.shape) - len(factor.shape)
    if extra == -1 and factor.shape[-1] == 1:
        return ops.squeeze(factor, -1)
    pairs = zip(factor.shape, values.shape, strict=False)
    fits = all(None in (a, b) or a in (1, b) for a, b in pairs)
    if extra < 0 or not fits:
        raise ValueError(
            f"`{name}` must match the leading axes of the unreduced loss of shape {values.shape}, "
            f"received the shape {factor.shape}; pass one weight per example, shape [B]."
        )
    places = (..., *[None] * extra)
    return factor[places]


def _sum_positions(values: Any) -> Any:
    """`[B, ...]` -> `[B]`."""
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


def _refuse_weights_that_cancel(weight: Any, values: Any) -> None:
    shape = ops.convert_to_tensor(weight).shape
    if all(length == 1 for length in shape[1:]):
        raise ValueError(
            "`sample_weight` must be None, or one weight for each position of the loss of shape "
            f"{values.shape}, for the reduction 'mean_with_sample_weight': it divides by the "
            "weights of the whole batch, so that no example has a loss of its own. Received the "
            f"shape {shape}. Use the reduction 'sum_over_batch_size'."
        )


def _check_one_value_per_example(loss: Any, values: Any, prediction: Any) -> None:
    batch, got = prediction.shape[0], values.shape
    if len(got) and (batch is None or got[0] is None or got[0] == batch):
        return
    raise ValueError(
        f"`loss` must give one value per example, {loss!r} gave a result of shape {got} for "
        f"{'a batch' if batch is None else f'{batch} examples'}: a loss that reduces over the "
        "batch has no per-example gradients. Return the unreduced values [B], or measure the "
        "variance of batches with a model whose `compute_loss` it is and method='monte_carlo'."
    )


def _check_one_value_per_position(loss: Any, values: Any, mask: Any) -> None:
    """Refuse masks whose axes Keras would count from the last axis of the values."""
    ignored = 1 if tuple(values.shape[-1:]) == (1,) else 0
    if mask is None or len(values.shape) - len(mask.shape) <= ignored:
        return
    raise ValueError(
        f"`loss` must give one value for each position of the mask of shape {mask.shape}, "
        f"{loss!r} gave values of shape {values.shape}: Keras lays the mask along their last "
        "axes, so that `fit` fails or masks others. Return the mean over the last axis, or do "
        "without a mask."
    )
