"""A model for the tests of callbacks."""

import keras


def training_mode_model():
    """A compiled model in which a careless callback would leave traces while it measures."""
    keras.utils.set_random_seed(2)
    layers = [
        keras.layers.Dense(8),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    return model
