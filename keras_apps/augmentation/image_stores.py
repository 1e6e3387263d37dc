"""Where the images of a batch come from: an array in memory, or files on the disk."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_apps.augmentation import cropping

# The shorter side of an image of which the centre is shown, in units of the side that is shown.
_MARGIN = 256 / 224


class ImageStore(Protocol):
    """Images by their row."""

    def whole(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the images of the rows [B], float32 [B, H, W, channels], normalised."""
        ...

    def inception_crops(self, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Return Inception's crops of them, of the same shape, drawn by a stateless operation."""
        ...


def store_of(images: Any) -> ImageStore:
    """Return the store of an array [N, H, W, channels], or of images on the disk."""
    return _InMemory(images) if isinstance(images, np.ndarray) else _OnDisk(images)


def whole_images(images: Any, batch_size: int) -> tf.data.Dataset:
    """Return all images on the disk in their order, in batches [B, H, W, channels]."""
    rows = tf.data.Dataset.range(len(images)).batch(batch_size)
    return rows.map(store_of(images).whole, num_parallel_calls=tf.data.AUTOTUNE).prefetch(-1)


class _InMemory:
    """Images in an array."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = tf.constant(images)

    def whole(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._images, rows)

    def inception_crops(self, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return cropping.crop_and_resize(self.whole(rows), cropping.draw_boxes(seed, rows.shape[0]))


class _OnDisk:
    """JPEG files of unlike sizes; only the part that is shown is decoded."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self._means = tf.constant(stored.channel_means, tf.float32)
        self._deviations = tf.constant(stored.channel_deviations, tf.float32)

    def whole(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the centres of the images, 224 / 256 of the shorter side."""
        files = self._files(rows)
        return self._decoded(files, tf.map_fn(_centre, self._shapes(files)))

    def inception_crops(self, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        files = self._files(rows)
        shapes = self._shapes(files)
        height, width = (tf.cast(shapes[:, side], tf.float32) for side in (0, 1))
        boxes = cropping.draw_boxes(seed, rows.shape[0], image_aspects=width / height)
        sides = tf.stack([height, width, height, width], axis=1)
        return self._decoded(files, _pixels(boxes * sides, shapes))

    def _files(self, rows: tf.Tensor) -> tf.Tensor:
        files = tf.numpy_function(self._stored.encoded, [rows], tf.string)
        return tf.ensure_shape(files, rows.shape)

    def _shapes(self, files: tf.Tensor) -> tf.Tensor:
        shape = tf.TensorSpec([3], tf.int32)
        return tf.map_fn(tf.image.extract_jpeg_shape, files, fn_output_signature=shape)

    def _decoded(self, files: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
        """Return windows (top, left, height, width) [B, 4] of the files, resized and normalised."""
        _, height, width, channels = self._stored.shape

        def decoded(file_and_window: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            file, window = file_and_window
            pixels = tf.io.decode_and_crop_jpeg(file, window, channels=channels)
            return tf.image.resize(pixels, [height, width])

        spec = tf.TensorSpec([height, width, channels], tf.float32)
        pixels = tf.map_fn(decoded, (files, windows), fn_output_signature=spec)
        return (pixels / 255.0 - self._means) / self._deviations


def _centre(shape: tf.Tensor) -> tf.Tensor:
    """Return the window (top, left, height, width) in the middle of an image, a square."""
    side = tf.cast(tf.reduce_min(shape[:2]), tf.float32) / _MARGIN
    side = tf.maximum(tf.cast(tf.round(side), tf.int32), 1)
    top_left = (shape[:2] - side) // 2
    return tf.concat([top_left, [side, side]], axis=0)


def _pixels(boxes: tf.Tensor, shapes: tf.Tensor) -> tf.Tensor:
    """Return boxes (top, left, bottom, right) as windows of whole pixels inside the images."""
    sides = shapes[:, :2]
    top_left = tf.minimum(tf.cast(boxes[:, :2], tf.int32), sides - 1)
    lengths = tf.cast(tf.round(boxes[:, 2:] - boxes[:, :2]), tf.int32)
    lengths = tf.clip_by_value(lengths, 1, sides - top_left)
    return tf.concat([top_left, lengths], axis=1)
