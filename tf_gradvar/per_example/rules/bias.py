"""Gradient of a bias: the one rule by which `keras.ops.add` lays it along the outputs.

On TensorFlow it adds whatever can be squeezed to a vector along the last axis, or the first after
the examples', if the length agrees there; so a bias [4, 1] is not broadcast along the last axis of
[B, 4, 4], nor is that of a convolution with channels first and as many columns as channels.
The model is trained with that sum, so its gradient is the one that is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit
from tf_gradvar.per_example.rules.registry import Variable


def bias_form(bias: Variable, d: tf.Tensor, shape: Sequence[int]) -> Explicit:
    """The gradient of a bias that was added in this shape to outputs with gradients `[B, ...]`."""
    lengths = [length for length in shape if length > 1]
    rank = d.shape.rank
    if len(lengths) == 1 and lengths[0] in (d.shape[1], d.shape[-1]):
        axis = rank - 1 if d.shape[-1] == lengths[0] else 1
        summed = tf.reduce_sum(d, [place for place in range(1, rank) if place != axis])
    else:
        summed = _sum_to_shape(d, shape)
    return Explicit(tf.reshape(summed, [-1, *bias.shape]))


def _sum_to_shape(gradients: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
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
