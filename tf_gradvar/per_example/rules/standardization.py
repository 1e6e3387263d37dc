"""Rule for convolutions with weight standardization: `StandardizedConv2D` of `keras_apps`.

The gradient of the kernel in use is that of a convolution; `forms.standardized` leads from there
to that of the variable. Where there is an adapter on the kernel, the fallback is exact.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Forms
from tf_gradvar.per_example.forms.standardized import Standardized
from tf_gradvar.per_example.rules.adapters import is_plain
from tf_gradvar.per_example.rules.convolution import convolution_rule
from tf_gradvar.per_example.rules.registry import rule_for


def _is_the_layer_itself(layer: keras.layers.Layer) -> bool:
    """No subclass, which may standardize otherwise, and no adapter."""
    exact = type(layer).__name__ == "StandardizedConv2D"
    return exact and is_plain(layer) and not layer.lora_enabled


@rule_for("keras_apps.StandardizedConv2D", supports=_is_the_layer_itself, before_activation=True)
def standardized_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Kernel: `Standardized` of the convolution's form; bias: `sum_t d_t`."""
    (variable, used), *others = convolution_rule(layer, inputs, output_gradients)
    dtype = output_gradients.dtype
    kernel, deviations = layer.standardized(tf.cast(variable.value, dtype))
    shape = tuple(variable.shape)
    matrix = tf.reshape(kernel, [-1, shape[-1]])
    return [(variable, Standardized(used, matrix, deviations, shape)), *others]
