"""L2 regularisation of a whole network."""

from __future__ import annotations

import keras


def add_l2_penalty(model: keras.Model, l2: float, *, of_all: bool = False) -> keras.Model:
    """Return the model, with l2 / 2 times the squared norm of its weights added to the loss.

    Weights are the variables of two axes or more; biases and scales are left alone. The penalty
    belongs to no example: its gradient is added once, outside of the cluster buffers.

    Args:
        model: A built model, which is changed.
        l2: The factor; 0 changes nothing.
        of_all: Whether biases and scales are penalised, too. Defaults to False.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> len(add_l2_penalty(model, 5e-4).losses)
        1
        >>> len(add_l2_penalty(model, 5e-4, of_all=True).losses)
        2
    """
    if l2:
        for variable in model.trainable_variables:
            if of_all or len(variable.shape) > 1:
                variable.regularizer = keras.regularizers.L2(l2 / 2)
    return model
