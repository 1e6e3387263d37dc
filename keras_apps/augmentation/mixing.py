"""Mixup and CutMix inside of a group, with one ratio for all of its examples.

Both are one formula, with a partner from the group and a weight for every pixel:

    x_i <- w x_i + (1 - w) x_partner(i)         y_i <- mean(w) y_i + (1 - mean(w)) y_partner(i)

w is a number for Mixup (Zhang et al. 2017), and for CutMix (Yun et al. 2019) 0 inside of a box and
1 outside.
"""

from __future__ import annotations

import tensorflow as tf


def draw_ratios(seed: tf.Tensor, groups: int, alpha: float) -> tf.Tensor:
    """Return a number of the distribution Beta(alpha, alpha) for each group, float32 [C].

    Args:
        seed: Of a stateless operation.
        groups: C.
        alpha: Near zero, one of the two images is nearly all; 1 is the uniform distribution.
    """
    # With a small alpha a gamma variable is often smaller than any float32.
    gamma = tf.random.stateless_gamma([2, groups], seed, alpha, dtype=tf.float64)
    return tf.cast(gamma[0] / (gamma[0] + gamma[1]), tf.float32)


def draw_partners(seed: tf.Tensor, groups: int, size: int) -> tf.Tensor:
    """Return the partner of each example, a random permutation of each group, int32 [C * b].

    Args:
        seed: Of a stateless operation.
        groups: C.
        size: Examples in a group, b.
    """
    order = tf.argsort(tf.random.stateless_uniform([groups, size], seed), axis=1)
    return tf.reshape(order + size * tf.range(groups)[:, None], [groups * size])


def draw_centres(seed: tf.Tensor, groups: int) -> tf.Tensor:
    """Return the centre of the box of each group, as shares of the image, float32 [C, 2].

    Args:
        seed: Of a stateless operation.
        groups: C.
    """
    return tf.random.stateless_uniform([groups, 2], seed)


def weights_outside(ratios: tf.Tensor, centres: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return 0 for the pixels in a box and 1 for the others, float32 [C, height, width, 1].

    The box has the share 1 - ratio of the area and the aspect of the image, but for what stands
    out.

    Args:
        ratios: [C].
        centres: Of the boxes, as shares of the image, [C, 2].
        height: Of an image.
        width: Of an image.
    """
    cut = tf.sqrt(1.0 - ratios)
    inside = []
    for axis, length in enumerate((height, width)):
        half = tf.cast(cut * length, tf.int32) // 2
        centre = tf.cast(centres[:, axis] * length, tf.int32)
        places = tf.range(length)[None, :]
        inside.append((places >= (centre - half)[:, None]) & (places < (centre + half)[:, None]))
    box = inside[0][:, :, None] & inside[1][:, None, :]
    return tf.cast(~box, tf.float32)[..., None]


def mix(values: tf.Tensor, partners: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return w v_i + (1 - w) v_partner(i).

    Args:
        values: Images or soft labels, [C * b, ...].
        partners: [C * b].
        weights: Of each group, [C, ...], as many axes as the values have.
    """
    size = values.shape[0] // weights.shape[0]
    own = tf.repeat(weights, size, axis=0)
    return own * values + (1.0 - own) * tf.gather(values, partners)
