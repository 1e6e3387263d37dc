"""Residual networks for small images, with batch normalization or without any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def resnet_cifar(
    input_shape: Sequence[int],
    num_classes: int,
    depth: int = 8,
    filters: int = 16,
    batch_norm: bool = False,
) -> keras.Model:
    """Return a residual network of three stages with one, two and four times the filters.

    A block is relu(x + conv(relu(conv(x)))). Where a stage halves the resolution, x is every
    second position, filled up with channels of zeros, so that shortcuts have no weights. Without
    batch normalization, which follows each convolution in the source, convolutions have biases
    instead: examples do not interact, and each has a gradient of its own.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        depth: 6n + 2 for n blocks in each stage: 8, 14, 20, 32, 44, 56 and so on. Defaults to 8.
        filters: Of the first stage. Defaults to 16.
        batch_norm: Whether each convolution is followed by one. Defaults to False.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Raises:
        ValueError: A depth that is not 6n + 2.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2, with shortcuts of option A.

    Example:
        >>> resnet_cifar((32, 32, 3), 10).count_params()
        75050
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(
            f"`depth` must be 6n + 2 with n of at least 1, as 8, 20 or 32. Received: depth={depth}."
        )
    inputs = keras.Input(tuple(input_shape))
    features = _convolved(inputs, filters, 1, "relu", batch_norm)
    for stage in range(3):
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            features = _block(features, filters * 2**stage, stride, batch_norm)
    features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(features), name="resnet_cifar")


def _block(inputs: Any, filters: int, stride: int, batch_norm: bool) -> Any:
    """Add two convolutions to the inputs, or to every second position of them."""
    shortcut = inputs
    if stride > 1:
        shortcut = keras.layers.AveragePooling2D(1, stride)(shortcut)
        missing = filters - inputs.shape[-1]
        shortcut = keras.ops.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, missing]])
    features = _convolved(inputs, filters, stride, "relu", batch_norm)
    features = _convolved(features, filters, 1, None, batch_norm)
    return keras.layers.ReLU()(keras.layers.Add()([features, shortcut]))


def _convolved(
    inputs: Any, filters: int, stride: int, activation: str | None, batch_norm: bool
) -> Any:
    """Convolve, normalise if that is asked for, and activate."""
    if not batch_norm:
        return keras.layers.Conv2D(filters, 3, stride, padding="same", activation=activation)(
            inputs
        )
    features = keras.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(inputs)
    features = keras.layers.BatchNormalization()(features)
    return keras.layers.ReLU()(features) if activation else features
