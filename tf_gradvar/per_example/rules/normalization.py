"""Rules for layers that normalise, then scale and shift each feature.

With x^ the normalised inputs, scale: g = sum_t x^_t d_t; shift: g = sum_t d_t, over all axes that
are neither the examples' nor the parameters'. x^ comes from the layer's own `call` with a scale
of one and a shift of zero, so that it is right for every option of every Keras version.

Batch normalisation has a gradient per example only with its stored statistics: `capture` refuses
the training mode.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms
from tf_gradvar.per_example.rules.registry import Variable, rule_for

# Names of the parameters in the layers of Keras: RMSNormalization calls its own `scale`.
_SCALES, _SHIFTS = ("gamma", "scale"), ("beta",)


def _ascending_feature_axes(layer: keras.layers.Layer) -> bool:
    """The parameters' axes come in the order of the input and leave out the examples'."""
    axes = _axes(layer.axis)
    same_sign = all(a < 0 for a in axes) or all(a > 0 for a in axes)
    return same_sign and 0 not in axes and axes == sorted(axes)


@rule_for(
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    "keras.RMSNormalization",
    supports=_ascending_feature_axes,
)
def normalization_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Scale: `sum_t x^_t d_t`; shift: `sum_t d_t`."""
    scale, shift = _parameter(layer, _SCALES), _parameter(layer, _SHIFTS)
    forms: Forms = []
    if scale is not None:
        # A new scope hides the one of the capture: hand on the values that hold there.
        values = {id(v): (v, v.value) for v in layer.variables}
        values[id(scale)] = (scale, tf.ones(scale.shape, scale.dtype))
        if shift is not None:
            values[id(shift)] = (shift, tf.zeros(shift.shape, shift.dtype))
        with keras.StatelessScope(values.values()):
            normalized = type(layer).call(layer, inputs)
        products = tf.cast(normalized, output_gradients.dtype) * output_gradients
        forms.append((scale, Explicit(_sum_positions(products, layer.axis, scale))))
    if shift is not None:
        forms.append((shift, Explicit(_sum_positions(output_gradients, layer.axis, shift))))
    return forms


def _parameter(layer: keras.layers.Layer, names: tuple[str, ...]) -> Variable | None:
    candidates = (getattr(layer, name, None) for name in names)
    return next((v for v in candidates if isinstance(v, keras.Variable)), None)


def _sum_positions(
    values: tf.Tensor, axis: int | list[int] | tuple[int, ...], parameter: Variable
) -> tf.Tensor:
    """Sum `[B, ...]` over all axes but the first and those in `axis`, to `[B, *shape]`."""
    rank = values.shape.rank
    kept = {a % rank for a in _axes(axis)} | {0}
    summed = [a for a in range(rank) if a not in kept]
    values = tf.reduce_sum(values, summed) if summed else values
    return tf.ensure_shape(values, [None, *parameter.shape])


def _axes(axis: int | list[int] | tuple[int, ...]) -> list[int]:
    return [axis] if isinstance(axis, int) else list(axis)
