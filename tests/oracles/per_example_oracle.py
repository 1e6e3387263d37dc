"""Per-example gradients by brute force: one example after the other, in float64.

The model under test is built a second time in float64 with the same weights. Each example is a
batch of its own, its loss is what Keras computes for that batch, and `tf.GradientTape` gives the
gradient. Norms, sums and products are then plain NumPy on arrays [B, parameters].
"""

from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf


@contextmanager
def float64():
    """Layers and losses made inside compute in float64."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def loop_gradients(model, x, y, loss, sample_weight=None, loss_weights=None):
    """The gradient of every example, a list of float64 arrays [B, *shape]."""
    count = len(keras.tree.flatten(x)[0])
    weights = np.ones(count) if sample_weight is None else sample_weight

    @tf.function
    def gradient_of_one(x, y, weight):
        with tf.GradientTape() as tape:
            value = _loss_of_one(model, x, y, loss, weight, loss_weights)
        return tape.gradient(
            value, [v.value for v in model.trainable_variables], unconnected_gradients="zero"
        )

    rows = []
    for i in range(count):
        one = keras.tree.map_structure(
            lambda array, i=i: tf.constant(array[i : i + 1]), (x, y, weights)
        )
        rows.append([tf.convert_to_tensor(g).numpy() for g in gradient_of_one(*one)])
    return [np.stack(column) for column in zip(*rows, strict=True)]


def _loss_of_one(model, x, y, loss, weight, loss_weights):
    outputs = model(x)
    if not isinstance(loss, dict):
        return _keras_value(loss, y, outputs, weight)
    named = (
        outputs
        if isinstance(outputs, dict)
        else dict(zip(model.output_names, outputs, strict=True))
    )
    factors = loss_weights or dict.fromkeys(loss, 1.0)
    return sum(
        factors[name] * _keras_value(loss[name], y[name], named[name], weight) for name in loss
    )


def _keras_value(loss, y, prediction, weight):
    if isinstance(loss, keras.losses.Loss):
        return tf.reduce_sum(loss(y, prediction, sample_weight=weight))
    values = tf.reduce_mean(loss(y, prediction))
    return values * weight[0]


def flat(gradients):
    """[B, parameters] from a list of [B, *shape]."""
    return np.concatenate([np.reshape(g, (len(g), -1)) for g in gradients], axis=1)


def squared_norms(gradients):
    """||g_i||^2."""
    return np.einsum("bp,bp->b", flat(gradients), flat(gradients))


def inner_products(gradients, others):
    """<g_i, h_i>."""
    return np.einsum("bp,bp->b", flat(gradients), flat(others))


def second_moments(gradients):
    """sum_i g_i^2, for each variable."""
    return [np.einsum("b...,b...->...", g, g) for g in gradients]
