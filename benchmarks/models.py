"""The networks that benchmarks run."""

import keras

from keras_apps.models import convnet, resnet_cifar, wide_resnet


def mlp() -> keras.Model:
    """Return the MLP 784-1024-1024-10 with ReLU; 1.9 million weights."""
    layers = [keras.layers.Dense(1024, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])


def small_convnet() -> keras.Model:
    """Return the network of the Discover paper's small experiments; 0.1 million weights."""
    return convnet((28, 28, 1), 10)


def resnet8() -> keras.Model:
    """Return ResNet8 for 32x32x3 images without batch normalization; 75 thousand weights."""
    return resnet_cifar((32, 32, 3), 10)


def wide_resnet_16_2() -> keras.Model:
    """Return WideResNet-16-2 for 32x32x3 images; 0.7 million weights."""
    return wide_resnet((32, 32, 3), 10, depth=16, width=2)
