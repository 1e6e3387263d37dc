"""Callbacks on JAX, where the loop of `fit` holds the values of the variables."""

import types

import keras
import numpy as np
import pytest

from tests.training.jax_cases import LOSS, K, X, Y, batches, make_model, state_of
from tf_gradvar import BetweenClusterVariance, ClusterModel, Discover, DiscoverIGT, Recluster
from tf_gradvar.optimizers import cluster_transfer

pytestmark = [
    pytest.mark.jax,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs the JAX backend"),
]


def linear_model(optimizer):
    keras.utils.set_random_seed(0)
    model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(K)]))
    model.compile(optimizer, LOSS)
    return model


def softmax_gradients(weights):
    """The mean gradient of each class, [K, *shape] for kernel and bias, in float64."""
    logits = np.float64(X) @ weights[0] + weights[1]
    error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - np.eye(K)[Y]
    rows = [np.flatnonzero(k == Y) for k in range(K)]
    kernels = [np.float64(X[r]).T @ error[r] / len(r) for r in rows]
    return [np.stack(kernels), np.stack([error[r].mean(axis=0) for r in rows])]


def spread(values):
    """sum_k (1 / K) ||a_k - mean||^2 over all arrays [K, *shape]."""
    return sum(float(((a - a.mean(axis=0)) ** 2).sum()) for a in values) / K


@pytest.mark.parametrize("make", [lambda: Discover(0.1, K, gain=1.0), lambda: DiscoverIGT(0.05, K)])
def test_between_cluster_variance_is_of_the_present_weights(make):
    measure = BetweenClusterVariance(X, Y, Y, K, every=2)
    model = linear_model(make())
    history = model.fit(batches(), epochs=2, steps_per_epoch=3, verbose=0, callbacks=[measure])
    assert [record["step"] for record in measure.history] == [2, 4, 6]
    gradients = softmax_gradients([np.float64(w) for w in model.get_weights()])
    buffers = [np.float64(held) for held in model.optimizer.cluster_gradients]
    gain = model.optimizer.gain_value
    last = measure.history[-1]
    np.testing.assert_allclose(last["sgd"], spread(gradients), rtol=1e-5)
    off = [g - b for g, b in zip(gradients, buffers, strict=True)]
    squares = sum(float((d**2).sum()) for d in off) / K
    np.testing.assert_allclose(last["discover"], squares, rtol=1e-5)
    np.testing.assert_allclose(last["discover_exact"], gain**2 * spread(off), rtol=1e-5)
    assert history.history["between_cluster_variance_sgd"][-1] == last["sgd"]


def test_measuring_changes_nothing():
    found = []
    for callbacks in ([], [BetweenClusterVariance(X, Y, Y, K, every=1)]):
        model = make_model(Discover(0.1, K), normalized=True, dropout=0.3)
        model.fit(batches(), steps_per_epoch=4, verbose=0, callbacks=callbacks)
        found.append(state_of(model))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_momentum_is_measured_too():
    measure = BetweenClusterVariance(X, Y, Y, K, every=3)
    model = linear_model(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(batches(), steps_per_epoch=3, verbose=0, callbacks=[measure])
    gradients = softmax_gradients([np.float64(w) for w in model.get_weights()])
    velocities = [np.float64(v) for v in model.optimizer.momentums]
    off = [g + (1 - 0.9) / 0.1 * v[None] for g, v in zip(gradients, velocities, strict=True)]
    expected = sum(float((d**2).sum()) for d in off) / K
    np.testing.assert_allclose(measure.history[-1]["momentum"], expected, rtol=1e-5)


class Given:
    """A clustering that is known: its turns are the assignments."""

    num_clusters = K

    def __init__(self, *turns):
        self.turns = list(turns)

    def fit(self, model, x, y, loss=None, initial_assignments=None):
        found = self.turns.pop(0)
        sizes = np.bincount(found, minlength=K)
        return types.SimpleNamespace(
            assignments=found, sizes=sizes, objective=[0.0], variance_ratio=1.0
        )


def test_given_clusters_reach_the_sampler_and_the_optimizer():
    first, second = Y, np.roll(Y, 1)
    data = batches(read_ahead=False)
    model = linear_model(Discover(0.1, K, alpha=1.0))
    seen = []

    class Look(keras.callbacks.Callback):
        """Keeps the buffers before the clusters change."""

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.jax_state_sync()
                seen[:] = [np.array(held) for held in self.model.optimizer.cluster_gradients]

    class After(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                held = [np.array(held) for held in self.model.optimizer.cluster_gradients]
                shares = cluster_transfer(first, second, K)
                for old, new in zip(seen, held, strict=True):
                    np.testing.assert_allclose(new, np.tensordot(shares, old, 1), atol=1e-6)
                self.done = True

    after = After()
    recluster = Recluster(Given(second), X, Y, every=2, start=2, dataset=data,
                          initial_assignments=first)  # fmt: skip
    model.fit(data, steps_per_epoch=3, verbose=0, callbacks=[Look(), recluster, after])
    assert after.done
    shares = np.bincount(second, minlength=K) / len(second)
    np.testing.assert_allclose(model.optimizer.cluster_probabilities, shares, rtol=1e-6)
    batch, _ = data[3]
    for place, k in zip(batch["inputs"], batch["cluster_ids"], strict=True):
        row = int(np.flatnonzero((place == X).all(axis=1))[0])
        assert second[row] == k


@pytest.mark.parametrize(
    "name", ["GradientVarianceLogger", "gradient_variance", "GradientClustering"]
)
def test_per_example_gradients_need_tensorflow(name):
    import tf_gradvar

    with pytest.raises(ImportError, match=f"`{name}`.*needs the TensorFlow backend"):
        getattr(tf_gradvar, name)
