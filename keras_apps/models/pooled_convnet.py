"""A convolutional network for digits, with pooling and two dense layers."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def pooled_convnet(
    input_shape: Sequence[int],
    num_classes: int,
    filters: Sequence[int] = (64, 128),
    dense_units: int = 1000,
) -> keras.Model:
    """Return a model of 5x5 convolutions, each halved by pooling, and two dense layers.

    Convolutions have no padding. With the defaults, the CNN on MNIST of the gradient variance
    study: 37.8 weights for each of 60 000 images, where the study has "approximately 37". It has
    no dropout, so that every example has a gradient of its own.

    Args:
        input_shape: Shape of one image, (height, width, channels).
        num_classes: Number of logits.
        filters: Of each convolution. Defaults to 64 and 128.
        dense_units: Width of the hidden dense layer. Defaults to 1000.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Source: Faghri et al. 2020, appendix C.1; the widths are those of its published code.

    Example:
        >>> pooled_convnet((28, 28, 1), 10).count_params()
        2265602
    """
    inputs = keras.Input(tuple(input_shape))
    features = inputs
    for count in filters:
        features = keras.layers.Conv2D(count, 5, activation="relu")(features)
        features = keras.layers.MaxPooling2D()(features)
    features = keras.layers.Flatten()(features)
    features = keras.layers.Dense(dense_units, "relu")(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(features), name="pooled_convnet")
