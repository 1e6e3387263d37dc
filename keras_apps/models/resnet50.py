"""ResNet-50 with group normalization and weight standardization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_apps.models.group_norm import group_norm
from keras_apps.models.residual import residual_network, shortcut
from keras_apps.models.standardized_convolution import StandardizedConv2D

GROUPS = 32
EXPANSION = 4


def resnet50(
    input_shape: Sequence[int],
    num_classes: int,
    blocks: Sequence[int] = (3, 4, 6, 3),
    filters: int = 64,
) -> keras.Model:
    """Return a residual network of bottleneck blocks, normalised after each convolution.

    A 7x7 convolution and a pooling, each of stride 2, are followed by stages with one, two, four
    and eight times the filters, each but the first at half the resolution of the one before.
    A block is

        relu(x + norm(conv 1x1(relu(norm(conv 3x3(relu(norm(conv 1x1(x)))))))),

    with four times the filters in its last convolution and the stride in the 3x3 convolution;
    the first x of a stage is projected by a 1x1 convolution and normalised. All normalizations
    have 32 groups, or their greatest common divisor with the channels; all convolutions are
    standardized.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        blocks: Blocks of each stage. Defaults to those of ResNet-50.
        filters: Of the first stage. Defaults to 64.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes], 25.6 million weights
        for 1000 classes.

    Source: He et al. 2016, arXiv:1512.03385, table 1; the stride as in Goyal et al. 2017,
    arXiv:1706.02677, section 5.1; the Discover paper, appendix 7.3.

    Example:
        >>> resnet50((32, 32, 3), 10, blocks=(1, 1), filters=8).count_params()
        9362
    """
    return residual_network(
        input_shape, num_classes, blocks, filters, _normalised, _block, "resnet50"
    )


def _block(inputs: Any, filters: int, stride: int) -> Any:
    """Add a bottleneck to the inputs, or to their projection."""
    wide = EXPANSION * filters
    kept = shortcut(inputs, wide, stride, _normalised)
    features = keras.layers.ReLU()(_normalised(inputs, filters, 1, 1))
    features = keras.layers.ReLU()(_normalised(features, filters, 3, stride))
    features = keras.layers.Add()([kept, _normalised(features, wide, 1, 1)])
    return keras.layers.ReLU()(features)


def _normalised(inputs: Any, filters: int, size: int, stride: int) -> Any:
    """Convolve and normalise."""
    convolution = StandardizedConv2D(
        filters,
        size,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )
    return group_norm(filters, GROUPS)(convolution(inputs))
