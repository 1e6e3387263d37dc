"""Buffers of Discover along a trajectory: moved by groups of their own, at the weights before."""

import keras
import numpy as np

from keras_apps.experiments.classification import Classification
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.discover_groups import DiscoverGroups
from keras_apps.running.trajectory_batches import training_batches
from tests.oracles.discover_oracle import ControlVariate
from tf_gradvar import Discover
from tf_gradvar.data import cluster_batches

TRAJECTORY = Trajectory(batch_size=40, discover_groups=4, steps=4)
STEPS = 3


class WeightsBefore(keras.callbacks.Callback):
    """The weights before each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append([array.astype("float64") for array in self.model.get_weights()])


def trained(problem, callbacks_of):
    keras.utils.set_random_seed(0)
    model = problem.build_model()
    model.compile(keras.optimizers.SGD(0.2, 0.5), problem.loss)
    callbacks = callbacks_of(model)
    batches = training_batches(TRAJECTORY, problem, 0, 0, STEPS)
    model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
    return model.get_weights()


def group_gradients(weights, x, y, size):
    """Mean gradients of groups of examples in a softmax regression, [C, ...] of each variable."""
    kernel, bias = weights
    x = x.reshape(len(x), -1).astype("float64")
    scores = np.exp(x @ kernel + bias)
    errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(10)[y]
    groups = range(0, len(x), size)
    return [
        np.array([x[g : g + size].T @ errors[g : g + size] / size for g in groups]),
        np.array([errors[g : g + size].mean(axis=0) for g in groups]),
    ]


def test_buffers_by_the_oracle_and_weights_that_stay():
    problem = Classification("digits", model_arguments={"hidden_units": []}).build()
    shares = problem.probabilities.tolist()
    optimizer = Discover(0.0, 10, alpha=0.3, cluster_probabilities=shares)
    before = WeightsBefore()

    def watched(model):
        optimizer.build(model.trainable_variables)
        return [before, DiscoverGroups(model, optimizer, TRAJECTORY, problem, seed=0)]

    with_buffers = trained(problem, watched)
    alone = trained(problem, lambda model: [])
    for ours, theirs in zip(with_buffers, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    oracle = ControlVariate([(64, 10), (10,)], 10, 0.3, shares)
    batches = cluster_batches(
        (problem.x, problem.y), problem.clusters, num_clusters=10, group_size=10,
        groups_per_batch=4, cluster_probabilities=shares, seed=0,
    )  # fmt: skip
    for weights, (inputs, y) in zip(before.seen, batches.take(STEPS), strict=True):
        gradients = group_gradients(weights, inputs["inputs"].numpy(), y.numpy(), 10)
        oracle.correct(gradients, inputs["cluster_ids"].numpy()[::10].tolist())
    for place, buffers in enumerate(optimizer.cluster_gradients):
        expected = np.array([oracle.buffers[place][k] for k in range(10)])
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(np.array(buffers), expected, rtol=1e-3, atol=1e-5)
