"""Wide residual networks with group normalization (WRN-depth-width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_apps.models.group_norm import group_norm

STEM_FILTERS = 16
# Groups of the first normalization of a block, and of all others.
FIRST_GROUPS, OTHER_GROUPS = 16, 32


def wide_resnet(
    input_shape: Sequence[int],
    num_classes: int,
    depth: int = 26,
    width: int = 10,
    dropout: float = 0.3,
    l2: float = 0.0,
) -> keras.Model:
    """Return a residual network of few, wide layers, normalised before each activation.

    A convolution of 16 filters is followed by three stages of n blocks with 16, 32 and 64 times
    `width` filters, the second and third at half the resolution of the one before. A block is

        x + conv(dropout(relu(norm(conv(relu(norm(x))))))),

    where the first x is projected by a 1x1 convolution of relu(norm(x)) if its shape changes.
    The first normalization of a block has 16 groups, every other one 32, or their greatest common
    divisor with the channels.

    The depth 6n + 4 counts all convolutions, those of the three projections included, and is that
    of the source; 6n + 2 leaves out the projections and counts the dense layer. So WRN-26-10 of
    the Discover paper is the WRN-28-10 of the source, with 36.5 million weights.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        depth: 6n + 4 or 6n + 2 for n blocks in each stage. Defaults to 26.
        width: Factor of the filters. Defaults to 10.
        dropout: Share of the features that is dropped between the convolutions of a block.
            Defaults to 0.3.
        l2: Coupled weight decay of all weights: l2 / 2 times their squared norm joins the loss.
            Defaults to 0.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Raises:
        ValueError: A depth that is neither 6n + 4 nor 6n + 2.

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146; the groups from the Discover paper,
    appendix 7.4.

    Example:
        >>> wide_resnet((32, 32, 3), 10, depth=16, width=2).count_params()
        691674
    """
    decay = keras.regularizers.L2(l2 / 2) if l2 else None
    inputs = keras.Input(tuple(input_shape))
    features = _convolution(inputs, STEM_FILTERS, 3, 1, decay)
    for stage in range(3):
        for block in range(_blocks_in_a_stage(depth)):
            stride = 2 if stage and not block else 1
            filters = STEM_FILTERS * width * 2**stage
            features = _block(features, filters, stride, dropout, decay)
    features = _activated(features, OTHER_GROUPS, decay)
    features = keras.layers.GlobalAveragePooling2D()(features)
    logits = keras.layers.Dense(num_classes, kernel_regularizer=decay, bias_regularizer=decay)
    return keras.Model(inputs, logits(features), name="wide_resnet")


def _blocks_in_a_stage(depth: int) -> int:
    if depth < 8 or depth % 6 not in (2, 4):
        raise ValueError(
            "`depth` must be 6n + 4, which counts the three projections, or 6n + 2, which does "
            f"not, with n of at least 1, as 16, 26, 28 or 40. Received: depth={depth}."
        )
    return (depth - 2) // 6


def _block(inputs: Any, filters: int, stride: int, dropout: float, decay: Any) -> Any:
    """Add two normalised convolutions to the inputs, or to their projection."""
    activated = _activated(inputs, FIRST_GROUPS, decay)
    shortcut = inputs
    if stride > 1 or inputs.shape[-1] != filters:
        shortcut = _convolution(activated, filters, 1, stride, decay)
    features = _convolution(activated, filters, 3, stride, decay)
    features = _activated(features, OTHER_GROUPS, decay)
    if dropout:
        features = keras.layers.Dropout(dropout)(features)
    return keras.layers.Add()([shortcut, _convolution(features, filters, 3, 1, decay)])


def _activated(inputs: Any, groups: int, decay: Any) -> Any:
    return keras.layers.ReLU()(group_norm(inputs.shape[-1], groups, decay)(inputs))


def _convolution(inputs: Any, filters: int, size: int, stride: int, decay: Any) -> Any:
    layer = keras.layers.Conv2D(
        filters,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=decay,
    )
    return layer(inputs)
