"""Low-rank adapters (`enable_lora`) of Dense, EinsumDense and Embedding.

With W = K + s A B the gradients of the factors follow from that of W = sum_t a_t d_t^T:

    A:  s W' B^T = sum_t a_t (s B d_t)^T,       B:  s A^T W' = sum_t (s A^T a_t) d_t^T.

So either is a sum of outer products again, of thin matrices, and K need not be trained. In an
EinsumDense, A and B share their axis with the last axis l of the kernel: r takes the place of l
among the labels of the outputs (l is a column) or of the inputs (l is a row).

Source: Hu et al. 2022, arXiv:2106.09685, section 4.1.
"""

from __future__ import annotations

import string

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Forms
from tf_gradvar.per_example.forms.outer import Outer
from tf_gradvar.per_example.rules.labels import Labels, outer_form, sort_labels
from tf_gradvar.per_example.rules.registry import Variable


def is_plain(layer: keras.layers.Layer) -> bool:
    """No quantization, which puts other variables into the kernel."""
    return not getattr(layer, "quantization_mode", None)


def scaled_factors(
    layer: keras.layers.Layer, a: Variable, b: Variable, dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """`s A` and `s B`, where s = alpha / rank; 1 before Keras 3.9, which has no alpha."""
    scale = getattr(layer, "lora_alpha", layer.lora_rank) / layer.lora_rank
    return scale * tf.cast(a.value, dtype), scale * tf.cast(b.value, dtype)


def dense_forms(layer: keras.layers.Dense, a: tf.Tensor, d: tf.Tensor) -> Forms:
    """Forms of both factors, from inputs `[B, 1, T, I]` and output gradients `[B, 1, T, O]`."""
    left, right = layer.lora_kernel_a, layer.lora_kernel_b
    A, B = scaled_factors(layer, left, right, d.dtype)
    return [
        (left, Outer(a, tf.einsum("bsto,ro->bstr", d, B))),
        (right, Outer(tf.einsum("bsti,ir->bstr", a, A), d)),
    ]


def einsum_forms(
    layer: keras.layers.EinsumDense, a: tf.Tensor, d: tf.Tensor, labels: Labels
) -> Forms:
    """Forms of both factors, from inputs and output gradients in the order of their labels."""
    left, right = layer.lora_kernel_a, layer.lora_kernel_b
    A, B = scaled_factors(layer, left, right, d.dtype)
    inputs, kernel, outputs = labels[:3]
    last = kernel[-1]
    rank = next(c for c in string.ascii_letters if c not in inputs + kernel + outputs)
    thin = kernel[:-1] + rank
    # Two steps: with A from one end to what lies between, with B from there to the end that has l.
    start, end = (inputs, a), (outputs, d)
    if last in labels.rows:
        start, end = end, start
    between = end[0].replace(last, rank)
    lowered = tf.einsum(f"{end[0]},{rank}{last}->{between}", end[1], B)
    raised = tf.einsum(f"{start[0]},{thin}->{between}", start[1], A)
    steps = [(left, thin, start, (between, lowered)), (right, rank + last, (between, raised), end)]
    forms: Forms = []
    for variable, names, *ends in steps:
        (ours, x), (theirs, y) = ends if last in labels.columns else reversed(ends)
        form = outer_form(x, y, sort_labels(ours, names, theirs), variable.shape)
        forms.append((variable, form))
    return forms
