"""Rules for Dense and EinsumDense: sums of outer products over the positions.

Dense on `[B, ..., I]` has g = sum_t a_t d_t^T over all axes between the first and the last.
EinsumDense is the same after its labels are sorted (`labels.py`).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import stored_kernel
from tf_gradvar.per_example.forms.form import Explicit, Forms, GradientForm, leading
from tf_gradvar.per_example.forms.outer import Outer, as_positions
from tf_gradvar.per_example.rules.adapters import dense_forms, einsum_forms, is_plain
from tf_gradvar.per_example.rules.bias import bias_form
from tf_gradvar.per_example.rules.labels import outer_form, sorted_labels
from tf_gradvar.per_example.rules.registry import rule_for

# Axes of an ellipsis while only the labels matter.
_LONGEST_RANK = 8


@rule_for(keras.layers.Dense, supports=is_plain, before_activation=True)
def dense_rule(layer: keras.layers.Dense, inputs: tf.Tensor, output_gradients: tf.Tensor) -> Forms:
    """Kernel: `sum_t a_t d_t^T`; bias: `sum_t d_t`; and a low-rank adapter."""
    kernel = stored_kernel(layer)
    a = as_positions(tf.cast(inputs, output_gradients.dtype), kernel.shape[0])
    d = as_positions(output_gradients, kernel.shape[1])
    forms: Forms = [(kernel, Outer(a, d))]
    if layer.lora_enabled:
        forms += dense_forms(layer, a, d)
    if layer.bias is not None:
        forms.append((layer.bias, _sum_of_positions(d)))
    return forms


def _sum_of_positions(d: tf.Tensor) -> GradientForm:
    """`sum_t d_t`; with one position as 1 d^T, whose products are partly those of the kernel."""
    if d.shape[2] != 1:
        return Explicit(tf.reduce_sum(d, [1, 2]))
    ones = tf.ones([leading(d), 1, 1, 1], d.dtype)
    return Outer(ones, d, lambda gradients: tf.squeeze(gradients, [1, 2]))


def _known_equation(layer: keras.layers.EinsumDense) -> bool:
    labels = sorted_labels(layer.equation, rank=_LONGEST_RANK)
    if labels is None or not is_plain(layer):
        return False
    if layer.lora_enabled and labels.kernel[-1] in labels.groups:
        return False
    return layer.bias is None or len(layer.bias.shape) < len(labels.outputs)


@rule_for(keras.layers.EinsumDense, supports=_known_equation, before_activation=True)
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
        forms += einsum_forms(layer, a, d, labels)
    if layer.bias is not None:
        forms.append((layer.bias, bias_form(layer.bias, d, layer.bias.shape)))
    return forms
