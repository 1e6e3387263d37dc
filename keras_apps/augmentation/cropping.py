"""Random crops: of a padded image, and of a part of it that is resized."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

# Inception's crop: the share of the area, and the width divided by the height.
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)


def draw_offsets(seed: tf.Tensor, count: int, padding: int) -> tf.Tensor:
    """Return the upper left corners of crops of padded images, int32 [count, 2].

    Args:
        seed: Of a stateless operation.
        count: How many.
        padding: Pixels on each side.
    """
    largest = 2 * padding + 1
    return tf.random.stateless_uniform([count, 2], seed, maxval=largest, dtype=tf.int32)


def pad_and_crop(
    images: tf.Tensor, offsets: tf.Tensor, padding: int, black: Sequence[float]
) -> tf.Tensor:
    """Return crops of the images' own size from images with a black border.

    Args:
        images: [B, H, W, channels].
        offsets: Row and column where each crop begins in the padded image, [B, 2].
        padding: Pixels on each side.
        black: What black is in each channel.
    """
    _, height, width, _ = images.shape
    border = [[padding, padding], [padding, padding]]
    is_inside = tf.pad(tf.ones([height, width], tf.bool), border)[..., None]
    padded = tf.pad(images, [[0, 0], *border, [0, 0]])
    padded = tf.where(is_inside, padded, tf.constant(black, images.dtype))
    rows = offsets[:, :1] + tf.range(height)
    columns = offsets[:, 1:] + tf.range(width)
    return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def draw_boxes(seed: tf.Tensor, count: int, image_aspects: Any = 1.0) -> tf.Tensor:
    """Return boxes of Inception's crop as shares of the image, float32 [count, 4].

    The area is uniform in `AREA`, the logarithm of the aspect in `ASPECT`; a side that would be
    longer than the image is cut to it. The place is uniform.

    Args:
        seed: Of a stateless operation.
        count: How many.
        image_aspects: Width of each image, divided by its height. Defaults to 1, squares.

    Returns:
        Top, left, bottom and right of each.
    """
    numbers = tf.random.stateless_uniform([4, count], seed)
    area = AREA[0] + (AREA[1] - AREA[0]) * numbers[0]
    low, high = (math.log(aspect) for aspect in ASPECT)
    aspect = tf.exp(low + (high - low) * numbers[1]) / image_aspects
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    top, left = numbers[2] * (1.0 - height), numbers[3] * (1.0 - width)
    return tf.stack([top, left, top + height, left + width], axis=1)


def crop_and_resize(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Return the boxes of the images, resized to the images' own size (bilinear).

    Args:
        images: [B, H, W, channels].
        boxes: Top, left, bottom and right of each, [B, 4]; 1 is the centre of the last pixel.
    """
    count, height, width, _ = images.shape
    return tf.image.crop_and_resize(images, boxes, tf.range(count), [height, width])
