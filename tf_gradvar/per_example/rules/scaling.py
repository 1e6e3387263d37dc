"""Rule for layers whose output is linear in one vector with an entry for each feature.

These are the layer scales of vision models and the root-mean-square norms of language models, with
y = v(x) * scale or y = v(x) * (1 + scale), so that g = sum_t v_t d_t over all axes but the first
and the last. v is the layer's own output at a scale of one minus that at zero, right for either.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms
from tf_gradvar.per_example.rules.registry import rule_for


def _is_vector(layer: keras.layers.Layer) -> bool:
    return [len(variable.shape) for variable in layer.variables] == [1]


@rule_for(
    "keras.LayerScale",
    "keras_hub.DINOV2LayerScale",
    "keras_hub.DINOV3LayerScale",
    "keras_hub.Gemma3nRMSNorm",
    "keras_hub.GptOssLayerNormalization",
    "keras_hub.LlamaLayerNorm",
    "keras_hub.MistralLayerNormalization",
    "keras_hub.MixtralLayerNormalization",
    "keras_hub.Phi3LayerNorm",
    "keras_hub.Qwen3LayerNorm",
    "keras_hub.Qwen3MoeLayerNorm",
    "keras_hub.QwenLayerNorm",
    "keras_hub.QwenMoeLayerNorm",
    "keras_hub.RMSNormalization",
    "keras_hub.RoformerNorm",
    "keras_hub.T5LayerNorm",
    supports=_is_vector,
)
def scaling_rule(
    layer: keras.layers.Layer, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Scale: `sum_t v_t d_t`."""
    (scale,) = layer.variables

    def output_at(value: tf.Tensor) -> tf.Tensor:
        with keras.StatelessScope([(scale, value)]):
            return tf.cast(type(layer).call(layer, inputs), output_gradients.dtype)

    ones = tf.ones(scale.shape, scale.dtype)
    products = (output_at(ones) - output_at(tf.zeros_like(ones))) * output_gradients
    summed = tf.reduce_sum(products, list(range(1, products.shape.rank - 1)))
    return [(scale, Explicit(tf.ensure_shape(summed, [None, *scale.shape])))]
