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

from tf_gradvar.per_example.labels import Labels, outer_form, sort_labels
from tf_gradvar.per_example.outer import Outer
from tf_gradvar.per_example.rule import Forms, Variable


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
    if last in labels.columns:
        between = outputs.replace(last, rank)
        left_form = outer_form(
            a,
            tf.einsum(f"{outputs},{rank}{last}->{between}", d, B),
            sort_labels(inputs, thin, between),
            left.shape,
        )
        right_form = outer_form(
            tf.einsum(f"{inputs},{thin}->{between}", a, A),
            d,
            sort_labels(between, rank + last, outputs),
            right.shape,
        )
    else:
        between = inputs.replace(last, rank)
        left_form = outer_form(
            tf.einsum(f"{inputs},{rank}{last}->{between}", a, B),
            d,
            sort_labels(between, thin, outputs),
            left.shape,
        )
        right_form = outer_form(
            a,
            tf.einsum(f"{outputs},{thin}->{between}", d, A),
            sort_labels(inputs, rank + last, between),
            right.shape,
        )
    return [(left, left_form), (right, right_form)]
