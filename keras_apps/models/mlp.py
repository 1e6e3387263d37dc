"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    hidden_units: Sequence[int] = (256,),
    activation: str = "relu",
    l2: float = 0.0,
) -> keras.Model:
    """Return a model that flattens its inputs, with dense layers up to the logits.

    Args:
        input_shape: Shape of one example.
        num_classes: Number of logits.
        hidden_units: Width of each hidden layer. Defaults to one of 256.
        activation: Of the hidden layers, by Keras' name.
        l2: Coupled weight decay of all weights and biases: l2 / 2 times their squared norm joins
            the loss. Defaults to 0.

    Returns:
        A functional model from [B, *input_shape] to logits [B, num_classes].

    Example:
        >>> mlp((28, 28, 1), 10).count_params()
        203530
    """
    decay = keras.regularizers.L2(l2 / 2) if l2 else None
    penalties = {"kernel_regularizer": decay, "bias_regularizer": decay}
    inputs = keras.Input(tuple(input_shape))
    features = keras.layers.Flatten()(inputs)
    for units in hidden_units:
        features = keras.layers.Dense(units, activation, **penalties)(features)
    return keras.Model(inputs, keras.layers.Dense(num_classes, **penalties)(features), name="mlp")
