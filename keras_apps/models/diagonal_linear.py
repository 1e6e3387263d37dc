"""Linear regression with a diagonal design, in which the gradient noise can be worked out."""

from __future__ import annotations

from typing import Any

import keras


class ElementwiseScale(keras.layers.Layer):
    """The layer x -> x * weights, with one weight for each feature, at first all zero."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one weight for each feature."""
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Scale each feature."""
        return inputs * self.weight


def diagonal_linear(num_features: int) -> keras.Model:
    """Return the model x -> x * theta, elementwise.

    Args:
        num_features: Length d of the inputs, the outputs and theta.

    Returns:
        A model from [B, d] to [B, d] whose one variable theta [d] starts at zero.

    Example:
        >>> diagonal_linear(20).count_params()
        20
    """
    inputs = keras.Input((num_features,))
    return keras.Model(inputs, ElementwiseScale()(inputs), name="diagonal_linear")
