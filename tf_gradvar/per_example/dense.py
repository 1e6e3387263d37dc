"""Rules for Dense and EinsumDense: sums of outer products over the positions.

Dense on `[B, ..., I]` has g = sum_t a_t d_t^T over all axes between the first and the last.
EinsumDense is the same after its labels are sorted (`labels.py`).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import stored_kernel
from tf_gradvar.per_example import adapters
from tf_gradvar.per_example.forms import Explicit, GradientForm, leading
from tf_gradvar.per_example.labels import outer_form, product_or_unknown, sorted_labels
from tf_gradvar.per_example.outer import Outer
from tf_gradvar.per_example.rule import Forms, Rule

# Axes of an ellipsis while only the labels matter.
_LONGEST_RANK = 8


def dense_rule(layer: keras.layers.Dense, inputs: tf.Tensor, output_gradients: tf.Tensor) -> Forms:
    """Kernel: `sum_t a_t d_t^T`; bias: `sum_t d_t`; and a low-rank adapter."""
    kernel = stored_kernel(layer)
    a = as_positions(tf.cast(inputs, output_gradients.dtype), kernel.shape[0])
    d = as_positions(output_gradients, kernel.shape[1])
    forms: Forms = [(kernel, Outer(a, d))]
    if layer.lora_enabled:
        forms += adapters.dense_forms(layer, a, d)
    if layer.bias is not None:
        forms.append((layer.bias, _bias_form(d)))
    return forms


def _bias_form(d: tf.Tensor) -> GradientForm:
    """`sum_t d_t`; with one position as 1 d^T, whose products are partly those of the kernel."""
    if d.shape[2] != 1:
        return Explicit(tf.reduce_sum(d, [1, 2]))
    ones = tf.ones([leading(d), 1, 1, 1], d.dtype)
    return Outer(ones, d, lambda gradients: tf.squeeze(gradients, [1, 2]))


def einsum_dense_rule(
    layer: keras.layers.EinsumDense, inputs: tf.Tensor, output_gradients: tf.Tensor
) -> Forms:
    """Kernel: `sum_t a_t d_t^T` after sorting the labels; bias: `d` summed to its shape."""
    labels = sorted_labels(layer.equation, inputs.shape.rank)
    if labels is None:
        raise ValueError(
            f"The layer '{layer.path}' must have an equation that its rule knows, "
            f"received {layer.equation!r}."
        )
    kernel, d = stored_kernel(layer), output_gradients
    a = tf.cast(inputs, d.dtype)
    forms: Forms = [(kernel, outer_form(a, d, labels, kernel.shape))]
    if layer.lora_enabled:
        forms += adapters.einsum_forms(layer, a, d, labels)
    if layer.bias is not None:
        forms.append((layer.bias, Explicit(_of_bias(d, tuple(layer.bias.shape)))))
    return forms


def _of_bias(gradients: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """The gradient of a bias that `keras.ops.add` has added, `[B, *shape]`.

    On TensorFlow it adds whatever can be squeezed to a vector along the last axis, or the first
    after the examples', if the length agrees there; so [4, 1] is not broadcast along the last
    axis of [B, 4, 4].
    """
    lengths = [length for length in shape if length > 1]
    if len(lengths) == 1 and lengths[0] in (gradients.shape[1], gradients.shape[-1]):
        rank = gradients.shape.rank
        axis = rank - 1 if gradients.shape[-1] == lengths[0] else 1
        others = [place for place in range(1, rank) if place != axis]
        return tf.reshape(tf.reduce_sum(gradients, others), [-1, *shape])
    return sum_to_shape(gradients, shape)


def sum_to_shape(gradients: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Undo the broadcasting of a variable: `[B, ...]` -> `[B, *shape]`."""
    extra = gradients.shape.rank - 1 - len(shape)
    if extra > 0:
        gradients = tf.reduce_sum(gradients, list(range(1, 1 + extra)))
    repeated = [
        1 + axis
        for axis, length in enumerate(shape)
        if length == 1 and gradients.shape[1 + axis] != 1
    ]
    return tf.reduce_sum(gradients, repeated, keepdims=True) if repeated else gradients


def as_positions(tensor: tf.Tensor, columns: int) -> tf.Tensor:
    """`[B, ..., C]` -> `[B, 1, T, C]`, where the tensor itself may not know C."""
    positions = product_or_unknown(tensor.shape[1:-1])
    return tf.reshape(tensor, [leading(tensor), 1, positions, columns])


def _plain_kernel(layer: keras.layers.Layer) -> bool:
    """No quantization, which puts other variables into the kernel."""
    return not getattr(layer, "quantization_mode", None)


def _known_equation(layer: keras.layers.EinsumDense) -> bool:
    labels = sorted_labels(layer.equation, rank=_LONGEST_RANK)
    if labels is None or not _plain_kernel(layer):
        return False
    if layer.lora_enabled and labels.kernel[-1] in labels.groups:
        return False
    return layer.bias is None or len(layer.bias.shape) < len(labels.outputs)


DENSE = Rule(dense_rule, _plain_kernel, before_activation=True)
EINSUM_DENSE = Rule(einsum_dense_rule, _known_equation, before_activation=True)
