"""The parts of a step's gradient that belong to no group: weight regularisers, the loss scale."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def regularization_loss(model: keras.Model) -> tf.Tensor | None:
    """Return the sum of the weight regularisers, a float32 scalar; None if there is none."""
    losses = [v.regularizer(v) for v in model.trainable_weights if v.regularizer is not None]
    return tf.add_n([tf.cast(loss, "float32") for loss in losses]) if losses else None


def with_regularization(model: keras.Model, gradients: list[Any]) -> list[Any]:
    """Return gradients with that of the weight regularisers added."""
    with tf.GradientTape() as tape:
        loss = regularization_loss(model)
    if loss is None:
        return gradients
    extra = tape.gradient(loss, [v.value for v in model.trainable_weights])
    return [
        more if g is None else g if more is None else g + tf.cast(more, g.dtype)
        for g, more in zip(gradients, extra, strict=True)
    ]


def loss_scale(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the factor by which an optimizer wants the loss scaled, or None for 1."""
    scale = optimizer.scale_loss(tf.ones(()))
    return None if tf.get_static_value(scale) == 1.0 else scale


def scaled(
    optimizer: keras.optimizers.Optimizer, gradients: list[Any], skipped: tf.Tensor
) -> list[Any]:
    """Return gradients as an optimizer expects them: of the scaled loss.

    Dynamic loss scaling must learn of an overflow, so that it skips the step and lowers the
    scale: it gets a gradient that is not finite where a group was skipped.

    Args:
        optimizer: The model's optimizer, with its wrappers.
        gradients: Of the unscaled loss; None for a variable without one.
        skipped: Whether a group was left out of the step, a bool scalar.
    """
    scale = loss_scale(optimizer)
    if scale is None:
        return gradients
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = tf.where(skipped, float("nan"), scale)
    return [None if g is None else g * tf.cast(scale, g.dtype) for g in gradients]
