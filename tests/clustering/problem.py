"""Small problems for clusterings, and their gradients by brute force."""

import functools

import keras
import numpy as np

from tests.oracles.per_example_oracle import loop_gradients

K = 4
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@functools.cache
def dense():
    """A small MLP, 41 examples and their gradients [N, parameters]."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6,)),
        keras.layers.Dense(8, "relu", name="hidden"),
        keras.layers.Dense(3, name="head"),
    ]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(41, 6)).astype("float32")
    return _solved(keras.Sequential(layers, name="net"), x, rng.integers(0, 3, 41))


@functools.cache
def convolutional():
    """Convolutions, inference-mode batch normalization and pooling; 23 examples."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((7, 8, 2)),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Conv2D(5, 3),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3),
    ]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(23, 7, 8, 2)).astype("float32")
    return _solved(keras.Sequential(layers), x, rng.integers(0, 3, 23))


def _solved(model, x, y):
    parts = loop_gradients(model, x, y, LOSS)
    return model, x, y, np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)
