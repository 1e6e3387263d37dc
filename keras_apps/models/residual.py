"""The frame of a residual network for large images, whatever its convolutions and blocks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

# (inputs, filters, kernel size, stride) -> convolved and normalised
Normalised = Callable[[Any, int, int, int], Any]


def residual_network(
    input_shape: Sequence[int],
    num_classes: int,
    blocks: Sequence[int],
    filters: int,
    normalised: Normalised,
    block: Callable[[Any, int, int], Any],
    name: str,
) -> keras.Model:
    """Return a model of stages, each but the first at half the resolution of the one before.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        blocks: Blocks of each stage.
        filters: Of the first stage; each has twice those of the one before.
        normalised: Convolves and normalises.
        block: (inputs, filters, stride) -> features.
        name: Of the model.
    """
    inputs = keras.Input(tuple(input_shape))
    features = keras.layers.ReLU()(normalised(inputs, filters, 7, 2))
    features = keras.layers.MaxPooling2D(3, 2, padding="same")(features)
    for stage, count in enumerate(blocks):
        for index in range(count):
            features = block(features, filters * 2**stage, 2 if stage and not index else 1)
    features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(features), name=name)


def shortcut(inputs: Any, filters: int, stride: int, normalised: Normalised) -> Any:
    """Return the inputs, projected where a block changes their shape."""
    same_shape = stride == 1 and inputs.shape[-1] == filters
    return inputs if same_shape else normalised(inputs, filters, 1, stride)
