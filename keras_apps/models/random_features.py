"""Random features models: a teacher that labels examples, a student with one trained layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

Initializer = Callable[..., Any]


def unit_features(seed: int) -> Initializer:
    """Return an initializer of kernels [I, h]: normal numbers, each column scaled to norm 1."""

    def initialize(shape: Sequence[int], dtype: Any = None) -> Any:
        drawn = keras.random.normal(shape, dtype=dtype, seed=seed)
        return drawn / keras.ops.norm(drawn, axis=0, keepdims=True)

    return initialize


def teacher(input_size: int, features: int, seed: int) -> keras.Model:
    """Return the model whose sign labels the examples.

        f(x) = relu(x W1) w2 + b,   W1, w2 and b standard normal, each column of W1 scaled to norm 1

    Args:
        input_size: Numbers of an example.
        features: Width of the hidden layer.
        seed: Of the weights.

    Returns:
        A model from [B, input_size] to [B, 1].

    Example:
        >>> teacher(3, 5, seed=0).count_params()
        21

    Source: Faghri et al. 2020, section 4.2.
    """
    normal = [keras.initializers.RandomNormal(stddev=1.0, seed=seed + place) for place in (1, 2)]
    return keras.Sequential(
        [
            keras.Input((input_size,)),
            keras.layers.Dense(
                features, "relu", use_bias=False, kernel_initializer=unit_features(seed)
            ),
            keras.layers.Dense(1, kernel_initializer=normal[0], bias_initializer=normal[1]),
        ],
        name="teacher",
    )


def student(input_size: int, features: int, seed: int, l2: float = 0.0) -> keras.Model:
    """Return a model of frozen random features and a trained output layer.

        s(x) = relu(x W) w,   W normal, each column scaled to norm 1, not trained

    Args:
        input_size: Numbers of an example.
        features: h_s, the number of random features.
        seed: Of the random features.
        l2: Coupled weight decay of the output layer. Defaults to 0.

    Returns:
        A model from [B, input_size] to logits [B, 1]; `student.layers[0]` are the features.

    Example:
        >>> model = student(3, 5, seed=0)
        >>> [tuple(variable.shape) for variable in model.trainable_variables]
        [(5, 1)]

    Source: Faghri et al. 2020, section 4.2.
    """
    frozen = keras.layers.Dense(
        features, "relu", use_bias=False, kernel_initializer=unit_features(seed), name="features"
    )
    frozen.trainable = False
    layers = [keras.Input((input_size,)), frozen, _output(l2)]
    return keras.Sequential(layers, name="student")


def output_layer(features: int, l2: float = 0.0) -> keras.Model:
    """Return the trained part of a `student`, a model of its features.

    Args:
        features: h_s, the number of random features.
        l2: Coupled weight decay. Defaults to 0.

    Returns:
        A model from features [B, h_s] to logits [B, 1].

    Example:
        >>> output_layer(5).count_params()
        5
    """
    return keras.Sequential([keras.Input((features,)), _output(l2)], name="output_layer")


def _output(l2: float) -> keras.layers.Layer:
    decay = keras.regularizers.L2(l2 / 2) if l2 else None
    return keras.layers.Dense(1, use_bias=False, kernel_regularizer=decay, name="output")
