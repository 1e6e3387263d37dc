"""The unreduced loss: one value per example, whatever the loss is called in Keras.

The loss of example i is what Keras would compute for a batch that holds this example alone, times
its sample weight. So it is never divided by the batch size; where a loss gives several values per
example (`[B, T]` for a sequence), they are averaged over those that are not masked, and added
for a loss with `reduction="sum"` or `None`. The mean over the examples is then the number that
`model.fit` minimises (for masks: up to examples of unequal length).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import get_mask

# A Keras loss, its name, a function, or a list or dictionary of these (one an output).
LossLike = Any


def example_losses(
    loss: LossLike,
    y: Any,
    outputs: Any,
    *,
    sample_weight: Any = None,
    loss_weights: Any = None,
    output_names: Sequence[str] = (),
) -> tf.Tensor:
    """The loss of each example, summed over the outputs of the model.

    Args:
        loss: One loss, or a list or dictionary with one (or None) for each output.
        y: Labels, structured as the outputs.
        outputs: What the model returned.
        sample_weight: None, weights `[B]` (or `[B, T]`), or a list or dictionary of them.
        loss_weights: None, or one number for each output.
        output_names: Names of the outputs, for dictionaries with outputs in a list.

    Returns:
        `[B]`, at least float32.

    Raises:
        ValueError: If the loss reduces over the batch or the structures do not match.
    """
    names, predictions = _named_outputs(outputs, output_names)
    single = len(names) == 1
    losses = _per_output("loss", loss, names, same_for_all=True)
    labels = _per_output("y", y, names, same_for_all=single)
    weights = _per_output("sample_weight", sample_weight, names, same_for_all=True)
    factors = _per_output("loss_weights", loss_weights, names, same_for_all=single)
    terms = []
    for one_loss, label, prediction, weight, factor in zip(
        losses, labels, predictions, weights, factors, strict=True
    ):
        if one_loss is None:
            continue
        values = _one_output(one_loss, label, prediction, weight)
        terms.append(values if factor is None else values * tf.cast(factor, values.dtype))
    if not terms:
        raise ValueError("`loss` must name a loss for at least one output, received None for all.")
    return tf.add_n([tf.cast(term, terms[0].dtype) for term in terms])


def _named_outputs(outputs: Any, output_names: Sequence[str]) -> tuple[list[str], list[tf.Tensor]]:
    if isinstance(outputs, Mapping):
        return list(outputs), list(outputs.values())
    flat = keras.tree.flatten(outputs)
    names = list(output_names) if len(output_names) == len(flat) else []
    return names or [str(index) for index in range(len(flat))], flat


def _per_output(name: str, value: Any, names: list[str], *, same_for_all: bool) -> list[Any]:
    """Spread an argument over the outputs."""
    if isinstance(value, Mapping):
        unknown = set(value) - set(names)
        if unknown:
            raise ValueError(
                f"`{name}` must use the names of the model's outputs {names}, "
                f"received {sorted(unknown)}; rename these keys."
            )
        return [value.get(output) for output in names]
    if isinstance(value, (list, tuple)) and not (
        len(names) == 1 and name in ("y", "sample_weight")
    ):
        if len(value) != len(names):
            raise ValueError(
                f"`{name}` must have one entry for each of the {len(names)} outputs of the model, "
                f"received {len(value)}; use None for an output without a loss."
            )
        return list(value)
    if value is not None and not same_for_all:
        raise ValueError(
            f"`{name}` must be a list or dictionary for a model with outputs {names}, "
            f"received {type(value).__name__}."
        )
    return [value] * len(names)


def _one_output(loss: LossLike, y: Any, prediction: tf.Tensor, weight: Any) -> tf.Tensor:
    """Losses of one output, `[B]`."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if not callable(loss):
        raise TypeError(
            "`loss` must be a Keras loss, the name of one, or a function (y_true, y_pred), "
            f"received {loss!r}."
        )
    mask = get_mask(prediction)
    dtype = _loss_dtype(loss, prediction)
    prediction = tf.cast(prediction, dtype)
    values, averaged = _values(loss, y, prediction, dtype)
    _check_one_value_per_example(loss, values, prediction)
    weights = _example_weights(values, mask, weight)
    if weights is not None:
        values = values * weights
    if values.shape.rank == 1:
        return values
    axes = list(range(1, values.shape.rank))
    total = tf.reduce_sum(values, axes)
    if not averaged:
        return total
    counted = tf.ones_like(values) if mask is None else _expanded(mask, values)
    return tf.math.divide_no_nan(total, tf.reduce_sum(counted * tf.ones_like(values), axes))


def _values(
    loss: Callable[..., Any], y: Any, prediction: tf.Tensor, dtype: tf.DType
) -> tuple[tf.Tensor, bool]:
    """Unreduced values `[B, ...]`, and whether those of one example are averaged."""
    label = None if y is None else tf.cast(tf.convert_to_tensor(y), dtype)
    if isinstance(loss, keras.losses.Loss):
        averaged = loss.reduction not in ("sum", "none", None)
        return tf.convert_to_tensor(loss.call(label, prediction)), averaged
    if label is not None:
        label, prediction = _same_rank(label, prediction)
    return tf.convert_to_tensor(loss(label, prediction)), True


def _same_rank(label: tf.Tensor, prediction: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels `[B]` and predictions `[B, 1]` (or the other way round) belong together.

    Without this they would broadcast to `[B, B]`; Keras aligns them for its own losses.
    """
    if prediction.shape.rank == label.shape.rank + 1 and prediction.shape[-1] == 1:
        return label[..., tf.newaxis], prediction
    if label.shape.rank == prediction.shape.rank + 1 and label.shape[-1] == 1:
        return tf.squeeze(label, -1), prediction
    return label, prediction


def _loss_dtype(loss: Any, prediction: tf.Tensor) -> tf.DType:
    """At least float32, at least what the loss asks for, and never less than the model has."""
    asked = tf.as_dtype(getattr(loss, "dtype", None) or "float32")
    return max((tf.float32, asked, prediction.dtype), key=lambda dtype: dtype.size)


def _example_weights(values: tf.Tensor, mask: Any, weight: Any) -> tf.Tensor | None:
    factors = [
        _expanded(factor, values, name)
        for name, factor in (("sample_weight", weight), ("mask", mask))
        if factor is not None
    ]
    if not factors:
        return None
    return factors[0] if len(factors) == 1 else factors[0] * factors[1]


def _expanded(factor: Any, values: tf.Tensor, name: str = "mask") -> tf.Tensor:
    """Trailing axes of length one, so that `[B]` multiplies `[B, T]`."""
    factor = tf.cast(tf.convert_to_tensor(factor), values.dtype)
    extra = values.shape.rank - factor.shape.rank
    if extra == -1 and factor.shape[-1] == 1:
        return tf.squeeze(factor, -1)
    if extra < 0 or not factor.shape.is_compatible_with(values.shape[: factor.shape.rank]):
        raise ValueError(
            f"`{name}` must match the leading axes of the unreduced loss of shape {values.shape}, "
            f"received the shape {factor.shape}; pass one weight per example, shape [B]."
        )
    return tf.reshape(factor, tf.concat([tf.shape(factor), [1] * extra], 0))


def _check_one_value_per_example(loss: Any, values: tf.Tensor, prediction: tf.Tensor) -> None:
    batch, got = prediction.shape[0], values.shape
    if got.rank and (batch is None or got[0] is None or got[0] == batch):
        return
    raise ValueError(
        f"`loss` must give one value per example, {loss!r} gave a result of shape {got} for "
        f"{'a batch' if batch is None else f'{batch} examples'}: a loss that reduces over the "
        "batch has no per-example gradients. Return the unreduced values [B]."
    )
