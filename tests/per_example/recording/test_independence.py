"""Examples that have no gradient of their own are refused; whatever can be told apart is exact.

Batches have as many examples as the models have positions and features (B = T = H), so that an
axis that is taken for another is no crash.
"""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.problems import activity_l2, needs_mean_regularizers
from tf_gradvar import per_example
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.recording import independence

B = 4
rng = np.random.default_rng(0)
SEQUENCES = rng.normal(size=(B + 1, B, 3)).astype("float32")
X = rng.normal(size=(B + 1, 6)).astype("float32")
Y = rng.normal(size=(B + 1, 2)).astype("float32")


def loop(model, x, y, loss=None):
    """Squared norms of the gradients of examples alone, with what layers add to the loss."""
    loss = loss or keras.losses.MeanSquaredError()
    norms = []
    for i in range(len(y)):
        with tf.GradientTape() as tape:
            value = loss(y[i : i + 1], model(x[i : i + 1])) + sum(model.losses)
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        norms.append(sum(np.sum(np.square(tf.convert_to_tensor(g))) for g in gradients))
    return np.array(norms)


def moved(h):
    return ops.transpose(layers.Dense(B, "tanh")(ops.transpose(h, (1, 0, 2))), (1, 0, 2))


def merged(h):
    return ops.reshape(layers.Dense(B, "tanh")(ops.reshape(h, (-1, 3))), (-1, B, B))


def doubled(h):
    h = layers.Dense(B, "tanh")(layers.Concatenate(axis=0)([h, 2 * h]))
    return layers.Lambda(lambda t: ops.concatenate(ops.split(t, 2, axis=0), -1))(h)


def by_lambda(h):
    h = layers.Dense(B, "tanh")(layers.Lambda(lambda t: ops.transpose(t, (1, 0, 2)))(h))
    return layers.Lambda(lambda t: ops.transpose(t, (1, 0, 2)))(h)


def upside_down(h):
    """Only the gradients tell: every tensor has the right shape."""
    return ops.flip(layers.Dense(B, "tanh")(ops.flip(h, 0)), 0)


@pytest.mark.parametrize("size", [B, B + 1])
@pytest.mark.parametrize("shift", [moved, merged, doubled, by_lambda, upside_down])
def test_a_batch_axis_that_moves(shift, size):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((B, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(shift(inputs))))
    x, y = SEQUENCES[:size], Y[:size]
    found = per_example.squared_norms(model, x, y, "mse")
    np.testing.assert_allclose(found, loop(model, x, y), rtol=1e-5)
    parts = per_example.squared_norms(model, x, y, "mse", chunk_size=3)
    np.testing.assert_allclose(parts, found, rtol=1e-5)


class Centred(layers.Layer):
    def call(self, a):
        return a - 0.5 * ops.mean(a, axis=0, keepdims=True)


class Sampling(layers.Layer):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, a):
        return a + keras.random.normal(ops.shape(a), seed=self.seed_generator)


class RawNoise(layers.Layer):
    def call(self, a):
        return a + tf.random.normal(tf.shape(a))


class FixedNoise(layers.Layer):
    """Another number for every place of the batch, always the same."""

    def call(self, a):
        return a + keras.random.normal(ops.shape(a), seed=3)


class CountsBatch(layers.Layer):
    def call(self, a):
        return a / ops.cast(ops.shape(a)[0], "float32")


class Pairs(layers.Layer):
    def call(self, a):
        return ops.reshape(ops.reshape(a, (-1, 2, a.shape[-1])), (-1, a.shape[-1]))


def model_with(*middle):
    return keras.Sequential([keras.Input((6,)), layers.Dense(B, "tanh"), *middle, layers.Dense(2)])


def recommender():
    users = keras.Input((6,), name="users")
    u, m = layers.Dense(B)(users), layers.Dense(B)(users)
    return keras.Model(users, layers.Dense(2)(u * ops.tensordot(u, m, 2)), name="recommender")


def contrastive(y, p):
    return ops.mean(ops.square(p - ops.mean(p, axis=0)), axis=-1)


def noisy_loss(y, p):
    return ops.mean(ops.square(y - p + tf.random.normal(tf.shape(p))), axis=-1)


REFUSED = [
    (lambda: model_with(Centred(name="centre")), "mse", "centre' (Centred) makes"),
    (lambda: model_with(CountsBatch(name="count")), "mse", "count' (CountsBatch) makes"),
    (lambda: model_with(FixedNoise(name="fixed")), "mse", "fixed' (FixedNoise) makes"),
    (recommender, "mse", "layer 'recommender' (Functional) makes"),
    (lambda: model_with(Sampling(name="vae")), "mse", "vae' (Sampling) draws random"),
    (lambda: model_with(RawNoise(name="raw")), "mse", "raw' (RawNoise) draws random"),
    (lambda: model_with(Pairs()), "mse", "`model` must run on batches of any size"),
    (model_with, contrastive, "what the loss contrastive gives for an example depends"),
    (model_with, noisy_loss, "the loss noisy_loss draws random numbers"),
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("build", "loss", "message"), REFUSED)
def test_examples_that_interact_are_refused(build, loss, message, compiled):
    model = build()
    x, y = tf.constant(X[:B]), tf.constant(Y[:B])

    def norms(x, y):
        return per_example.squared_norms(model, x, y, loss)

    if compiled:
        if isinstance(model.layers[-2], Pairs):
            pytest.skip("random examples that a model does not take say nothing")
        norms = tf.function(norms, autograph=False)
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        norms(x, y)
    assert "method='monte_carlo'" in str(refusal.value)
    assert "in user code" not in str(refusal.value)


@pytest.mark.parametrize("weighted", [[0], [1], [B - 1], [0, 2]])
def test_examples_without_weight_do_not_hide_an_interaction(weighted):
    weights = np.zeros(B, "float32")
    weights[weighted] = 2.0
    for rows in (slice(None), slice(0, 2)) if weighted != [B - 1] else (slice(None),):
        x, y, w = X[:B][rows], Y[:B][rows], weights[rows]
        with pytest.raises(ValueError, match="what the loss contrastive gives"):
            per_example.squared_norms(model_with(), x, y, contrastive, sample_weight=w)


def test_the_only_example_with_a_weight_is_among_those_that_are_compared():
    x, y = np.tile(X[:B], (7, 1)), np.tile(Y[:B], (7, 1))
    x, y = x + np.linspace(0, 1, len(x))[:, None].astype("float32"), y
    weights = np.zeros(len(x), "float32")
    weights[len(x) // 2] = 1.0
    with pytest.raises(ValueError, match="what the loss contrastive gives"):
        per_example.squared_norms(model_with(), x, y, contrastive, sample_weight=weights)


class Adder(layers.Layer):
    def __init__(self, reduce, **arguments):
        super().__init__(**arguments)
        self.reduce, self.dense = reduce, layers.Dense(3)

    def call(self, a):
        self.add_loss(self.reduce(ops.square(self.dense(a))))
        return a


class Opaque(layers.Layer):
    """It has no rule, and its weight counts in what it adds only."""

    def __init__(self, reduce, **arguments):
        super().__init__(**arguments)
        self.reduce = reduce

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, a):
        self.add_loss(self.reduce(ops.square(a * self.scale)))
        return a * ops.tanh(self.scale)


@needs_mean_regularizers
@pytest.mark.parametrize("adder", [Adder, Opaque])
def test_losses_that_layers_add(adder):
    keras.utils.set_random_seed(2)
    regularized = layers.Dense(B, activity_regularizer=keras.regularizers.L2(0.3))
    model = model_with(adder(ops.mean), regularized)
    found = per_example.squared_norms(model, X, Y, "mse")
    np.testing.assert_allclose(found, loop(model, X, Y), rtol=1e-5)
    parts = per_example.squared_norms(model, X, Y, "mse", chunk_size=2)
    np.testing.assert_allclose(parts, found, rtol=1e-5)


@needs_mean_regularizers
def test_an_activity_regularizer_of_a_layer_without_a_rule():
    class Swish(layers.Layer):
        def build(self, shape):
            self.beta = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, a):
            return a * ops.sigmoid(self.beta * a)

    model = model_with(Swish(activity_regularizer=keras.regularizers.L2(0.3)))
    found = per_example.squared_norms(model, X, Y, "mse")
    np.testing.assert_allclose(found, loop(model, X, Y), rtol=1e-5)


def test_what_is_added_must_be_a_mean():
    with pytest.raises(ValueError, match=r"adder' \(Adder\) adds .* the size of the batch"):
        per_example.squared_norms(model_with(Adder(ops.sum, name="adder")), X, Y, "mse")


class OwnLoss(keras.Model):
    reduce = staticmethod(ops.mean)

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(B, "tanh", activity_regularizer=activity_l2(0.3))
        self.head = layers.Dense(2)

    def call(self, x):
        return self.head(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.reduce(ops.abs(y - y_pred) ** 3) + ops.sum(self.losses)


class OwnSum(OwnLoss):
    reduce = staticmethod(ops.sum)


def test_a_compute_loss_of_its_own():
    model = OwnLoss()
    model(X)
    model.compile("sgd", "mse")

    def cubes(y, p):
        return ops.mean(ops.abs(y - p) ** 3)

    found = per_example.squared_norms(model, X, Y)
    np.testing.assert_allclose(found, loop(model, X, Y, cubes), rtol=1e-5)


def test_a_compute_loss_that_cannot_be_taken_apart():
    model = OwnSum()
    model(X)
    model.compile("sgd", "mse")
    with pytest.raises(
        ValueError, match=r"`OwnSum\.compute_loss` must be a mean over the examples"
    ):
        per_example.squared_norms(model, X, Y)
    per_example.squared_norms(model, X, Y, "mse")


def test_added_losses_of_layers_that_are_called_again():
    class Both(OwnLoss):
        def __init__(self):
            super().__init__()
            self.hidden = Opaque(ops.mean)

    model = Both()
    model(X)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"what `Both\.compute_loss` makes of the added losses"):
        per_example.squared_norms(model, X, Y)


def test_checked_once_for_each_model_and_loss(monkeypatch):
    runs = []
    verdict = independence.Comparison.verdict

    def counted(self, **options):
        runs.append(1)
        return verdict(self, **options)

    monkeypatch.setattr(independence.Comparison, "verdict", counted)
    model = model_with()
    for _ in range(2):
        per_example.squared_norms(model, X, Y, "mse")
    assert len(runs) == 1
    per_example.squared_norms(model, X, Y, "mae")
    assert len(runs) == 2
    model.compile("sgd", "mse")
    per_example.squared_norms(model, X, Y)
    assert len(runs) == 2  # the compiled loss has the same name
    for _ in range(2):  # a function written anew is the same
        per_example.squared_norms(model, X, Y, lambda y, p: ops.sum(p, -1))
    assert len(runs) == 3


def test_groups_may_have_noise():
    model = model_with(Sampling())
    loss = ModelLoss(model, "mse")
    per_example.check_examples(loss, X, Y, refuse_noise=False)
    with pytest.raises(ValueError, match="draws random numbers"):
        per_example.check_examples(loss, X, Y)


def test_one_example_is_checked_for_noise_only():
    per_example.squared_norms(model_with(Centred()), X[:1], Y[:1], "mse")
    with pytest.raises(ValueError, match="draws random numbers"):
        per_example.squared_norms(model_with(Sampling()), X[:1], Y[:1], "mse")


def test_values_that_are_not_finite_are_no_interaction():
    x = X.copy()
    x[0] = np.nan
    found = per_example.squared_norms(model_with(), x, Y, "mse").numpy()
    assert np.isnan(found).tolist() == [True] + [False] * B


def test_models_are_not_kept_alive():
    import gc
    import weakref

    model = model_with()
    per_example.squared_norms(model, X, Y, "mse")
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_measuring_leaves_the_added_losses_alone():
    model = model_with(Adder(ops.mean))
    model(X)
    before = [float(loss) for loss in model.losses]
    per_example.squared_norms(model, X[:3], Y[:3], "mse")
    assert [float(loss) for loss in model.losses] == before
