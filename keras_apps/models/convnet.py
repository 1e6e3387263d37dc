"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def convnet(
    input_shape: Sequence[int],
    num_classes: int,
    filters: Sequence[int] = (16, 32),
    dense_units: int = 64,
) -> keras.Model:
    """Return a model of 3x3 convolutions that halve the image, and two dense layers.

    It has no normalisation over the batch: a group of one cluster would be normalised by its own
    moments.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        filters: Of each convolution. Defaults to 16 and 32.
        dense_units: Width of the hidden dense layer. Defaults to 64.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Example:
        >>> convnet((28, 28, 1), 10).count_params()
        105866
    """
    inputs = keras.Input(tuple(input_shape))
    features = inputs
    for count in filters:
        layer = keras.layers.Conv2D(count, 3, strides=2, padding="same", activation="relu")
        features = layer(features)
    features = keras.layers.Flatten()(features)
    features = keras.layers.Dense(dense_units, "relu")(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(features), name="convnet")
