"""ResNet-18 with batch normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_apps.models.residual import residual_network, shortcut


def resnet18(
    input_shape: Sequence[int],
    num_classes: int,
    blocks: Sequence[int] = (2, 2, 2, 2),
    filters: int = 64,
) -> keras.Model:
    """Return a residual network of blocks of two convolutions, normalised after each.

    A 7x7 convolution and a pooling, each of stride 2, are followed by stages with one, two, four
    and eight times the filters, each but the first at half the resolution of the one before. A
    block is relu(x + norm(conv(relu(norm(conv(x)))))); where a stage changes the shape, x is
    projected by a 1x1 convolution and normalised.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        blocks: Blocks of each stage. Defaults to those of ResNet-18.
        filters: Of the first stage. Defaults to 64.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes], with 11 689 512
        trainable weights for 1000 classes.

    Source: He et al. 2016, arXiv:1512.03385, table 1.

    Example:
        >>> resnet18((32, 32, 3), 10, blocks=(1, 1), filters=8).count_params()
        6370
    """
    return residual_network(
        input_shape, num_classes, blocks, filters, _normalised, _block, "resnet18"
    )


def _block(inputs: Any, filters: int, stride: int) -> Any:
    """Add two convolutions to the inputs, or to their projection."""
    kept = shortcut(inputs, filters, stride, _normalised)
    features = keras.layers.ReLU()(_normalised(inputs, filters, 3, stride))
    features = _normalised(features, filters, 3, 1)
    return keras.layers.ReLU()(keras.layers.Add()([kept, features]))


def _normalised(inputs: Any, filters: int, size: int, stride: int) -> Any:
    """Convolve and normalise."""
    convolution = keras.layers.Conv2D(
        filters,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )
    return keras.layers.BatchNormalization()(convolution(inputs))
