"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    hidden_units: Sequence[int] = (256,),
    activation: str = "relu",
) -> keras.Model:
    """Flattened inputs, dense layers with an activation, and a dense layer of logits.

    Args:
        input_shape: shape of one example.
        num_classes: number of logits.
        hidden_units: width of each hidden layer. Default: one of 256.
        activation: of the hidden layers, by Keras' name.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Example:
        >>> mlp((28, 28, 1), 10).count_params()
        203530
    """
    inputs = keras.Input(tuple(input_shape))
    features = keras.layers.Flatten()(inputs)
    for units in hidden_units:
        features = keras.layers.Dense(units, activation=activation)(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(features), name="mlp")
