"""Which layers have a rule: one dictionary from layer class to rule.

A rule turns what one call of a layer has seen into the forms of its variables' gradients. Users
add rules for their own layers with `register_rule`; a layer without one is measured by the exact
and slower fallback.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from tf_gradvar.per_example import (
    activations,
    convolution,
    dense,
    embedding,
    normalization,
    patch_embedding,
    positions,
    recurrent,
    scaling,
)
from tf_gradvar.per_example.rule import Rule, RuleFunction

RULES: dict[type[keras.layers.Layer], Rule] = {
    keras.layers.Dense: dense.DENSE,
    keras.layers.EinsumDense: dense.EINSUM_DENSE,
    keras.layers.Conv1D: convolution.CONVOLUTION,
    keras.layers.Conv2D: convolution.CONVOLUTION,
    keras.layers.Conv3D: convolution.CONVOLUTION,
    keras.layers.Conv1DTranspose: convolution.TRANSPOSED,
    keras.layers.Conv2DTranspose: convolution.TRANSPOSED,
    keras.layers.Conv3DTranspose: convolution.TRANSPOSED,
    keras.layers.DepthwiseConv1D: convolution.CONVOLUTION,
    keras.layers.DepthwiseConv2D: convolution.CONVOLUTION,
    keras.layers.SeparableConv1D: convolution.SEPARABLE,
    keras.layers.SeparableConv2D: convolution.SEPARABLE,
    keras.layers.PReLU: activations.PRELU,
    keras.layers.LSTM: recurrent.RECURRENT,
    keras.layers.GRU: recurrent.RECURRENT,
    keras.layers.SimpleRNN: recurrent.RECURRENT,
    keras.layers.RNN: recurrent.RECURRENT,
    keras.layers.Embedding: embedding.EMBEDDING,
    keras.layers.BatchNormalization: normalization.NORMALIZATION,
    keras.layers.GroupNormalization: normalization.NORMALIZATION,
    keras.layers.LayerNormalization: normalization.NORMALIZATION,
}
if hasattr(keras.layers, "RMSNormalization"):  # since Keras 3.9
    RULES[keras.layers.RMSNormalization] = normalization.NORMALIZATION
if hasattr(keras.layers, "ReversibleEmbedding"):  # newer; KerasHub had its own before
    RULES[keras.layers.ReversibleEmbedding] = embedding.REVERSIBLE_EMBEDDING

# Layers of packages that need not be installed, and those that Keras does not export, by
# (package, class name). Their `call` has been read.
NAMED_RULES: dict[tuple[str, str], Rule] = {
    ("keras", "LayerScale"): scaling.SCALING,
    ("keras_hub", "PositionEmbedding"): positions.POSITIONS,
    ("keras_hub", "ReversibleEmbedding"): embedding.REVERSIBLE_EMBEDDING,
    ("keras_hub", "ViTPatchingAndEmbedding"): patch_embedding.PATCH_EMBEDDING,
    **{
        ("keras_hub", name): scaling.SCALING
        for name in (
            "DINOV2LayerScale",
            "DINOV3LayerScale",
            "Gemma3nRMSNorm",
            "GptOssLayerNormalization",
            "LlamaLayerNorm",
            "MistralLayerNormalization",
            "MixtralLayerNormalization",
            "Phi3LayerNorm",
            "Qwen3LayerNorm",
            "Qwen3MoeLayerNorm",
            "QwenLayerNorm",
            "QwenMoeLayerNorm",
            "RMSNormalization",
            "RoformerNorm",
            "T5LayerNorm",
        )
    },
}


def register_rule(
    layer_class: type[keras.layers.Layer],
    rule: RuleFunction,
    *,
    supports: Callable[[keras.layers.Layer], bool] | None = None,
    before_activation: bool = False,
    whole_call: bool = False,
) -> None:
    """Teach `tf_gradvar.per_example` a layer class.

    The rule is called once for every call of a layer; contributions of several calls are added.
    It must return the gradient of every trainable variable of the layer.

    Args:
        layer_class: Subclass of `keras.layers.Layer`. Subclasses of it use the same rule as long
            as they do not override `call`.
        rule: `rule(layer, inputs, output_gradients)` -> list of `(variable, form)`, where
            `inputs` `[B, ...]` is the first argument of the call, `output_gradients` `[B, ...]`
            the gradient of the summed loss with respect to its output (float32 or float64), and
            a form an `Explicit`, `Outer` or `Lookup`, or a `GradientForm` of your own.
        supports: Whether the rule holds for a given layer; those for which it does not use the
            fallback. Defaults to always.
        before_activation: True if the gradient is wanted with respect to the argument of
            `layer.activation`, and `call` ends with that activation. Defaults to False.
        whole_call: True if the rule takes a fourth argument: an object with `arguments`, the
            dictionary of all arguments of the call with their defaults, and `outputs`, what the
            call has returned (before the activation with `before_activation`). Defaults to False.

    Raises:
        TypeError: If `layer_class` is not a layer class or `rule` cannot be called.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")
        ...     def call(self, x):
        ...         return x * self.factor
        >>> def scale_rule(layer, inputs, output_gradients):
        ...     return [(layer.factor, per_example.Explicit(inputs * output_gradients))]
        >>> per_example.register_rule(Scale, scale_rule)
        >>> model = keras.Sequential([keras.Input((3,)), Scale()])
        >>> x, y = np.float32([[1, 0, 2]]), np.float32([[0, 0, 0]])
        >>> per_example.squared_norms(model, x, y, lambda y, p: keras.ops.sum(p, -1)).numpy()
        array([5.], dtype=float32)
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise TypeError(
            "`layer_class` must be a subclass of keras.layers.Layer, "
            f"received {layer_class!r}; pass the class, not a layer."
        )
    if not callable(rule):
        raise TypeError(
            f"`rule` must be a function (layer, inputs, output_gradients), received {rule!r}."
        )
    supports = supports or (lambda layer: True)
    RULES[layer_class] = Rule(rule, supports, before_activation, whole_call)


def find_rule(layer: keras.layers.Layer) -> Rule | None:
    """The rule of the nearest base class that runs the same `call`, if it supports `layer`."""
    if "call" in layer.__dict__:  # somebody else has replaced `call` on this layer
        return None
    for base in type(layer).__mro__:
        rule = RULES.get(base) or NAMED_RULES.get(_name(base))
        if rule is not None:
            same_call = type(layer).call is base.call  # type: ignore[attr-defined]
            return rule if same_call and rule.supports(layer) else None
    return None


def _name(layer_class: type) -> tuple[str, str]:
    return layer_class.__module__.partition(".")[0], layer_class.__name__
