"""The networks that benchmarks run."""

import keras


def mlp() -> keras.Model:
    """Return the MLP 784-1024-1024-10 with ReLU; 1.9 million weights."""
    layers = [keras.layers.Dense(1024, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])


def _residual_block(x, filters, stride):
    shortcut = x
    if stride != 1:
        shortcut = shortcut[:, ::stride, ::stride]
        shortcut = keras.ops.pad(shortcut, [[0, 0], [0, 0], [0, 0], [0, filters - x.shape[-1]]])
    x = keras.layers.Conv2D(filters, 3, stride, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    return keras.layers.ReLU()(x + shortcut)


def resnet8() -> keras.Model:
    """Return ResNet8 for 32x32x3 images without batch normalization; 78 thousand weights."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        x = _residual_block(x, filters, stride)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))
