"""Random flips from left to right."""

from __future__ import annotations

import tensorflow as tf


def draw_flips(seed: tf.Tensor, count: int) -> tf.Tensor:
    """Return which images are flipped, one half of them in the mean, bool [count].

    Args:
        seed: Of a stateless operation.
        count: How many.
    """
    return tf.random.stateless_uniform([count], seed) < 0.5


def flip(images: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
    """Return the images, those flipped that are to be.

    Args:
        images: [B, H, W, channels].
        which: bool [B].
    """
    return tf.where(which[:, None, None, None], images[:, :, ::-1], images)
