"""Rule for the first layer of vision transformers: patches, a class token and positions.

The output `[B, 1 + P, O]` is a class token and the P patches that a convolution has seen, plus a
position embedding, which is added to all examples alike. So the gradient of the positions is the
output's, that of the class token its first row, and the convolution's follows from the others.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import stored_kernel
from tf_gradvar.per_example.forms.form import Explicit, Forms
from tf_gradvar.per_example.rules.convolution import convolution_rule
from tf_gradvar.per_example.rules.registry import rule_for


def _is_plain(layer: keras.layers.Layer) -> bool:
    """No adapters and no activation inside."""
    positions, convolution = layer.position_embedding, layer.patch_embedding
    adapted = positions.lora_enabled or convolution.lora_enabled
    return not adapted and convolution.activation in (None, keras.activations.linear)


@rule_for("keras_hub.ViTPatchingAndEmbedding", supports=_is_plain)
def patch_embedding_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Positions: d; class token: its first row; kernel and bias: by the convolution's rule."""
    d = output_gradients
    forms: Forms = [(stored_kernel(layer.position_embedding), Explicit(d))]
    if layer.use_class_token:
        forms.append((layer.class_token, Explicit(d[:, tf.newaxis, :1])))
        d = d[:, 1:]
    convolution = layer.patch_embedding
    shape = list(convolution.compute_output_shape(inputs.shape))[1:]
    if convolution.data_format == "channels_first":
        d = tf.transpose(d, [0, 2, 1])
    d = tf.reshape(d, [-1, *shape])
    return forms + convolution_rule(convolution, inputs, d)
