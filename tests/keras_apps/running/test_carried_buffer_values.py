"""Values of carried buffers against all draws of a step's clusters."""

import itertools

import keras
import numpy as np
import pytest

from keras_apps.experiments.carried_buffers import CarriedBuffers
from keras_apps.running.carried_buffer_values import CarriedBufferValues
from tf_gradvar import ClusterModel, cluster_batches

K = C = D = 3
Q = np.array([0.5, 0.25, 0.25])
ALPHA = 0.2
LABELS = np.array([0, 0, 1, 2, 0, 0, 1, 2])


def cluster_gradients(x, weights):
    """Return the gradients of the clusters' mean cross-entropy of a linear model [K, D * K]."""
    logits = x @ weights
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    errors = shares - np.eye(K)[LABELS]
    return np.array(
        [(x[k == LABELS].T @ errors[k == LABELS] / sum(k == LABELS)).ravel() for k in range(K)]
    )


@pytest.fixture(scope="module")
def measured():
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(0).normal(size=(len(LABELS), D)).astype("float32")
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K, use_bias=False)])
    model = ClusterModel.from_model(network)
    optimizer = CarriedBuffers(0.3, K, (ALPHA, 0.7), Q.tolist())
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = cluster_batches(
        (x, LABELS),
        LABELS,
        num_clusters=K,
        group_size=1,
        groups_per_batch=C,
        cluster_probabilities=Q.tolist(),
        seed=0,
    )
    values = CarriedBufferValues(x, LABELS, LABELS, K, Q, groups=C, every=5)
    history = model.fit(batches, steps_per_epoch=10, epochs=1, verbose=0, callbacks=[values])
    weights = model.get_weights()[0].astype("float64")
    return optimizer, values, history.history, cluster_gradients(x.astype("float64"), weights)


def test_errors_of_steps_are_those_over_all_draws(measured):
    optimizer, values, _, gradients = measured
    each = np.array(optimizer.buffers_of_clusters(ALPHA)[0], "float64").reshape(K, -1)
    one = np.array(optimizer.one_buffer(ALPHA)[0], "float64").ravel()
    target = Q @ gradients
    errors = dict.fromkeys(["of_sgd", "of_momentum", "of_gain_1", "of_gain_alpha"], 0.0)
    for drawn in itertools.product(range(K), repeat=C):
        probability = np.prod(Q[list(drawn)])
        mean = np.mean([gradients[k] for k in drawn], axis=0)
        deviation = np.mean([gradients[k] - each[k] for k in drawn], axis=0)
        for name, step in (
            ("of_sgd", mean),
            ("of_momentum", (1 - ALPHA) * one + ALPHA * mean),
            ("of_gain_1", Q @ each + deviation),
            ("of_gain_alpha", Q @ each + ALPHA * deviation),
        ):
            errors[name] += probability * np.sum((step - target) ** 2)
    last = values.history[-1]
    assert last["step"] == 10
    for name, expected in errors.items():
        key = "error_of_sgd" if name == "of_sgd" else f"error_{name}_{ALPHA}"
        assert last[key] == pytest.approx(expected, rel=1e-5)


def test_values_of_the_papers_figure(measured):
    optimizer, values, history, gradients = measured
    last = values.history[-1]
    for alpha in (ALPHA, 0.7):
        each = np.array(optimizer.buffers_of_clusters(alpha)[0], "float64").reshape(K, -1)
        one = np.array(optimizer.one_buffer(alpha)[0], "float64").ravel()
        distances = gradients - each
        expected = {
            "buffer_for_all": Q @ ((gradients - one) ** 2).sum(axis=1),
            "buffer_for_each": Q @ (distances**2).sum(axis=1),
            "left_in_step": Q @ ((distances - Q @ distances) ** 2).sum(axis=1),
        }
        for name, value in expected.items():
            assert last[f"{name}_{alpha}"] == pytest.approx(value, rel=1e-5)
            assert history[f"between_cluster_variance_{name}_{alpha}"] == [
                pytest.approx(value, rel=1e-5)
            ]
    spread = Q @ ((gradients - Q @ gradients) ** 2).sum(axis=1)
    assert last["sgd"] == pytest.approx(spread, rel=1e-5)
