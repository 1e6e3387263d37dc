"""Embeddings, whose gradients are sparse, train as a matrix times one-hot inputs does."""

import keras
import numpy as np
import pytest
from keras import ops

from tf_gradvar import ClusterModel, cluster_batches
from tf_gradvar.optimizers import IGT, QHM, Discover, DiscoverIGT, DiscoverOver, DiscoverQHM

rng = np.random.default_rng(0)
X = rng.integers(0, 6, (24, 4))  # numbers occur twice in a batch and in an example
Y = rng.integers(0, 2, 24)
IDS = np.arange(24) % 2
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class OneHot(keras.layers.Layer):
    """The table as a matrix: every gradient is dense."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=(6, 3), name="table")

    def call(self, inputs):
        return ops.matmul(ops.one_hot(inputs, 6, dtype=self.compute_dtype), self.table)


def models():
    """Two models with the same weights, one of them with sparse gradients."""
    pair = []
    for table in (keras.layers.Embedding(6, 3), OneHot()):
        head = [keras.layers.Flatten(), keras.layers.Dense(2)]
        pair.append(keras.Sequential([keras.Input((4,), dtype="int32"), table, *head]))
    weights = [np.random.default_rng(1).normal(size=w.shape) for w in pair[0].get_weights()]
    for model in pair:
        model.set_weights(weights)
    return pair


OPTIMIZERS = {
    "QHM": lambda **k: QHM(0.3, 0.9, **k),
    "IGT": lambda **k: IGT(0.1, **k),
    "Discover": lambda **k: Discover(0.3, 1, gain=1.0, **k),
    "DiscoverQHM": lambda **k: DiscoverQHM(0.3, 1, 0.9, **k),
    "DiscoverIGT": lambda **k: DiscoverIGT(0.1, 1, **k),
    "DiscoverOver": lambda **k: DiscoverOver(keras.optimizers.Adam(0.1, **k), 1),
}
CLIPPED = {"clipnorm": 0.1, "weight_decay": 0.1}


def assert_same_training(train, atol=1e-5):
    sparse, dense = models()
    start = sparse.get_weights()
    for model in (sparse, dense):
        train(model)
    for one, other in zip(sparse.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=atol)
    assert np.abs(sparse.get_weights()[0] - start[0]).max() > 1e-3


def fit_plain(optimizer, **compile_arguments):
    def train(model):
        model.compile(optimizer(), LOSS, **{"run_eagerly": True, **compile_arguments})
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)

    return train


@pytest.mark.parametrize("arguments", [{}, CLIPPED, {"global_clipnorm": 0.1}, {"clipvalue": 0.01}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit(name, arguments):
    assert_same_training(fit_plain(lambda: OPTIMIZERS[name](**arguments)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled(jit_compile):
    optimizer = lambda: QHM(0.3, 0.9, **CLIPPED)  # noqa: E731
    assert_same_training(fit_plain(optimizer, run_eagerly=False, jit_compile=jit_compile))


def test_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert_same_training(fit_plain(OPTIMIZERS["QHM"]), atol=0.02)
    finally:
        keras.mixed_precision.set_global_policy("float32")


@pytest.mark.parametrize(
    "optimizer",
    [lambda: QHM(0.3, 0.9, **CLIPPED), lambda: DiscoverQHM(0.3, 2, 0.9, **CLIPPED)],
    ids=["QHM", "DiscoverQHM"],
)
def test_cluster_model(optimizer):
    def train(model):
        clusters = ClusterModel.from_model(model)
        clusters.compile(optimizer(), LOSS, jit_compile=False)
        batches = cluster_batches(
            (X, Y), IDS, num_clusters=2, group_size=4, groups_per_batch=2, seed=0
        )
        clusters.fit(batches, steps_per_epoch=3, verbose=0)

    assert_same_training(train)
