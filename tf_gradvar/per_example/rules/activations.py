"""Rule for PReLU, the one activation with a weight of its own.

y = max(x, 0) - a max(-x, 0), so g = -max(-x, 0) d, summed over the axes that share a slope.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms
from tf_gradvar.per_example.rules.registry import rule_for


@rule_for(keras.layers.PReLU)
def prelu_rule(layer: keras.layers.PReLU, inputs: tf.Tensor, output_gradients: tf.Tensor) -> Forms:
    """Slopes: `-max(-x, 0) d`."""
    each = -tf.nn.relu(-tf.cast(inputs, output_gradients.dtype)) * output_gradients
    shared = [1 + axis for axis, length in enumerate(layer.alpha.shape) if length == 1]
    return [(layer.alpha, Explicit(tf.reduce_sum(each, shared, keepdims=True)))]
