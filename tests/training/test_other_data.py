"""Cluster batches from whatever Keras trains on: PyDataset, generators, `train_on_batch`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import ClusterModel, Discover

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 3)).astype("float32")
Y = rng.normal(size=(12, 1)).astype("float32")
IDS = np.repeat([0, 1, 1, 0], 3).astype("int32")


def batch(number):
    rows = slice(6 * number, 6 * number + 6)
    return {"inputs": X[rows], "cluster_ids": IDS[rows]}, Y[rows]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return batch(index)


def from_generator(model):
    model.fit((batch(i) for i in range(2)), steps_per_epoch=2, verbose=0)


def by_hand(model):
    for i in range(2):
        model.train_on_batch(*batch(i))


def from_arrays(model):
    inputs = {"inputs": X, "cluster_ids": IDS}
    model.fit(inputs, Y, batch_size=6, shuffle=False, verbose=0)


def from_tf_data(model):
    data = tf.data.Dataset.from_tensor_slices(({"inputs": X, "cluster_ids": IDS}, Y))
    model.fit(data.batch(6, drop_remainder=True), verbose=0)


WAYS = {
    "PyDataset": lambda model: model.fit(Batches(), shuffle=False, verbose=0),
    "generator": from_generator,
    "train_on_batch": by_hand,
    "arrays": from_arrays,
    "tf.data": from_tf_data,
}


def expected_weights(kernel, bias, rate=0.1, alpha=0.1):
    """Two steps of Discover on least squares, in NumPy: two groups a step, then the buffers."""
    weights = np.concatenate([kernel, bias[None]]).astype(np.float64)
    inputs = np.hstack([X, np.ones((12, 1))])
    buffers = np.zeros((2, 4, 1))
    for step in range(2):
        groups = {}
        for start in (6 * step, 6 * step + 3):
            rows = slice(start, start + 3)
            error = inputs[rows] @ weights - Y[rows]
            groups[int(IDS[start])] = 2 * inputs[rows].T @ error / 3
        corrected = np.mean([groups[k] - buffers[k] for k in (0, 1)], axis=0) + buffers.mean(0)
        for k in (0, 1):
            buffers[k] += alpha * (groups[k] - buffers[k])
        weights -= rate * corrected
    return weights[:3], weights[3]


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_takes_the_same_steps(way, groups):
    keras.utils.set_random_seed(0)
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    expected = expected_weights(*plain.get_weights())
    model = ClusterModel.from_model(plain, groups_per_batch=groups)
    model.compile(Discover(0.1, 2, gain=1.0), "mse", run_eagerly=True)
    WAYS[way](model)
    for one, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
