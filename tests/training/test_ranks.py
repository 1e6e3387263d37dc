"""Losses of any rank: buffers against each cluster's own gradient, as Keras has it.

With alpha = 1 and buffers of zero, one step leaves the gradients of the clusters in the buffers.
B = T = H = W on purpose: a weight of an example that lands on a position is then no crash.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_gradvar import ClusterModel, Discover

B = T = H = W = 4
K = 3
IDS = np.array([2, 0, 2, 2], "int32")  # no example of cluster 1
PAIRS = np.array([2, 2, 0, 0], "int32")
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=(B, *shape)).astype("float32")


def sparse(**arguments):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **arguments)


def sequence():
    return keras.Sequential([keras.Input((T, 3)), layers.Dense(5, "tanh"), layers.Dense(4)])


def masked():
    stack = [layers.Embedding(6, 5, mask_zero=True), layers.Dense(4)]
    return keras.Sequential([keras.Input((T,), dtype="int32"), *stack])


def image():
    return keras.Sequential([keras.Input((H, W, 2)), layers.Conv2D(4, 3, padding="same")])


def two_outputs():
    inputs = keras.Input((T, 3))
    hidden = layers.Dense(5, "tanh")(inputs)
    label = layers.Dense(4, name="label")(layers.GlobalAveragePooling1D()(hidden))
    return keras.Model(inputs, {"label": label, "steps": layers.Dense(1, name="steps")(hidden)})


@dataclass(frozen=True)
class Case:
    name: str
    build: Callable
    x: Any
    y: Any
    loss: Any
    weights: Any = None


TOKENS = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [1, 2, 3, 4], [5, 5, 2, 0]])
LABELS, PIXELS = rng.integers(0, 4, (B, T)), rng.integers(0, 4, (B, H, W))
ONE, COLUMN, EACH = (rng.uniform(0.5, 2, (B, *s)).astype("float32") for s in ((), (1,), (T,)))
BOTH = {"label": sparse(), "steps": "mse"}
TWO = {"label": LABELS[:, 0], "steps": normal(T, 1)}
CASES = [
    Case("sequence", sequence, normal(T, 3), LABELS, sparse()),
    Case("sequence, [B]", sequence, normal(T, 3), LABELS, sparse(), ONE),
    Case("sequence, [B, 1]", sequence, normal(T, 3), LABELS, sparse(), COLUMN),
    Case("sequence, [B, T]", sequence, normal(T, 3), LABELS, sparse(), EACH),
    Case("regression, [B]", sequence, normal(T, 3), normal(T, 4), "mse", ONE),
    Case("masked", masked, TOKENS, LABELS, sparse()),
    Case("masked, [B]", masked, TOKENS, LABELS, sparse(), ONE),
    Case("ignored class, [B]", sequence, normal(T, 3), LABELS, sparse(ignore_class=0), ONE),
    Case("sum, [B]", sequence, normal(T, 3), LABELS, sparse(reduction="sum"), ONE),
    Case(
        "mean over weights [B, T]",
        sequence,
        normal(T, 3),
        LABELS,
        sparse(reduction="mean_with_sample_weight"),
        EACH,
    ),
    Case("image", image, normal(H, W, 2), PIXELS, sparse()),
    Case("image, [B]", image, normal(H, W, 2), PIXELS, sparse(), ONE),
    Case("image, [B, H, W]", image, normal(H, W, 2), PIXELS, sparse(), normal(H, W) ** 2),
    Case("two outputs, [B]", two_outputs, normal(T, 3), TWO, BOTH, ONE),
    Case(
        "two outputs, a weight each",
        two_outputs,
        normal(T, 3),
        TWO,
        BOTH,
        {"label": ONE, "steps": EACH},
    ),
]


def at_full_rank(weight, case, name=None):
    """The weights with the axes of the loss, so that Keras itself applies them rightly."""
    if isinstance(weight, dict):
        return {n: at_full_rank(w, case, n) for n, w in weight.items()}
    if isinstance(case.y, dict) and name is None:
        return {n: at_full_rank(weight, case, n) for n in case.y}
    if weight is None:
        return None
    rank = {"label": 1, "steps": 2}.get(name, 3 if case.build is image else 2)
    return weight.reshape(*weight.shape, *[1] * (rank - weight.ndim))


def own_gradient(case, rows):
    """The gradient of a batch of these examples alone."""
    keras.utils.set_random_seed(1)
    model = case.build()
    model.compile("sgd", case.loss)
    data = (case.x, case.y, at_full_rank(case.weights, case))
    x, y, w = keras.tree.map_structure(lambda a: None if a is None else tf.constant(a[rows]), data)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), w)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return [tf.convert_to_tensor(g).numpy() for g in gradients]


def buffers(case, ids, groups):
    keras.utils.set_random_seed(1)
    model = ClusterModel.from_model(case.build(), groups_per_batch=groups)
    model.compile(Discover(0.0, K, alpha=1.0, gain=1.0), case.loss)
    inputs = {"inputs": case.x, "cluster_ids": ids}
    model.train_on_batch(inputs, case.y, sample_weight=case.weights)
    return [b.numpy() for b in model.optimizer.cluster_gradients]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_groups_that_are_not_known(case):
    for found, *expected in zip(
        buffers(case, IDS, None),
        own_gradient(case, np.flatnonzero(IDS == 0)),
        own_gradient(case, np.flatnonzero(IDS == 2)),
        strict=True,
    ):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[2], expected[1], rtol=1e-4, atol=1e-6)
        assert not found[1].any()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_groups_that_are_known(case):
    for found, *expected in zip(
        buffers(case, PAIRS, 2),
        own_gradient(case, [2, 3]),
        own_gradient(case, [0, 1]),
        strict=True,
    ):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[2], expected[1], rtol=1e-4, atol=1e-6)


def test_a_compute_loss_of_its_own_needs_groups():
    class Own(ClusterModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.abs(y - y_pred))

        def build(self, shape):
            self.dense = layers.Dense(4)
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    x, y = normal(3), normal(4)

    def trained(groups):
        model = Own()
        model.compile(Discover(0.1, K), "mse")
        model.groups_per_batch = groups
        model.train_on_batch({"inputs": x, "cluster_ids": PAIRS}, y)

    with pytest.raises(ValueError, match="`compute_loss` of Own cannot be told apart by cluster"):
        trained(None)
    trained(2)


def test_examples_that_interact_need_groups():
    class Centred(layers.Layer):
        def call(self, a):
            return a - 0.5 * keras.ops.mean(a, axis=0, keepdims=True)

    def trained(groups):
        stack = [keras.Input((3,)), layers.Dense(4), Centred()]
        model = ClusterModel.from_model(keras.Sequential(stack), groups_per_batch=groups)
        model.compile(Discover(0.1, K), "mse")
        model.train_on_batch({"inputs": normal(3), "cluster_ids": PAIRS}, normal(4))

    with pytest.raises(ValueError, match="`groups_per_batch` must be known where examples"):
        trained(None)
    trained(2)


def test_noise_needs_no_groups():
    class Noisy(layers.Layer):
        def call(self, a):
            return a + tf.random.normal(tf.shape(a))

    stack = [keras.Input((3,)), layers.Dense(4), Noisy()]
    model = ClusterModel.from_model(keras.Sequential(stack))
    model.compile(Discover(0.1, K), "mse")
    model.train_on_batch({"inputs": normal(3), "cluster_ids": IDS}, normal(4))


def test_ids_without_a_cluster_are_left_out_and_counted():
    case = next(case for case in CASES if case.name == "sequence")
    ids = np.array([2, 0, 9, -1], "int32")
    keras.utils.set_random_seed(1)
    model = ClusterModel.from_model(case.build())
    model.compile(Discover(0.0, K, alpha=1.0, gain=1.0), case.loss)
    model.train_on_batch({"inputs": case.x, "cluster_ids": ids}, case.y)
    assert int(model.optimizer.skipped_groups) == 2
    for found, expected in zip(
        model.optimizer.cluster_gradients, own_gradient(case, [0]), strict=True
    ):
        np.testing.assert_allclose(found[2], expected, rtol=1e-4, atol=1e-6)
