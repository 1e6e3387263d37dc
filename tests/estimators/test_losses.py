"""The loss that is measured is the loss that is trained: B times Keras' own gradient of a batch.

Measured by enumeration: the variance of a mini-batch of two distinct examples is that of the
gradients that Keras' training step takes of all pairs.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.problems import activity_l2
from tf_gradvar import GradientClustering, GradientVarianceLogger, MiniBatch, gradient_variance
from tf_gradvar.callbacks import at
from tf_gradvar.estimators import Stratified

N = 5
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4)).astype("float32")
Y = rng.normal(size=(N, 2)).astype("float32")


class Own(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3 * ops.mean(ops.abs(y - y_pred) ** 3) + ops.sum(self.losses)


class Adds(layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(ops.square(x)))
        return x


class Centred(layers.Layer):
    def call(self, x):
        return x - 0.5 * ops.mean(x, axis=0, keepdims=True)


def build(cls=keras.Model, *middle, **compiled):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, "tanh", activity_regularizer=activity_l2(0.5))(inputs)
    for layer in middle:
        hidden = layer(hidden)
    model = cls(inputs, layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.1))(hidden))
    model.compile("sgd", **{"loss": "mse", **compiled})
    return model


MODELS = {
    "plain": build,
    "weighted": lambda: build(loss_weights=[3.0]),
    "added": lambda: build(keras.Model, Adds()),
    "own": lambda: build(Own),
}


def trained_gradient(model, rows):
    """What Keras' training step takes of a batch, flat (weight regularisers are constant)."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(X[rows], Y[rows], model(X[rows], training=True))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    return np.concatenate([tf.reshape(g, -1) for g in gradients]).astype("float64")


def variance_of_pairs(model):
    pairs = [trained_gradient(model, list(p)) for p in itertools.combinations(range(N), 2)]
    return np.var(np.stack(pairs), axis=0).sum()


PAIR = MiniBatch(2, replacement=False)


@pytest.mark.parametrize("name", MODELS)
def test_none_is_the_compiled_loss(name):
    model = MODELS[name]()
    found = gradient_variance(model, X, Y, None, PAIR)[PAIR.name].variance
    assert found == pytest.approx(variance_of_pairs(model), rel=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_logger_measures_the_compiled_loss(name):
    model = MODELS[name]()
    logger = GradientVarianceLogger(X, Y, PAIR, every=at([0]))
    expected = variance_of_pairs(model)
    model.fit(X, Y, verbose=0, callbacks=[logger])
    found = logger.history[0]["estimators"][PAIR.name]["average_variance"]
    assert found * model.count_params() == pytest.approx(expected, rel=1e-4)


def test_loss_weights_of_the_caller():
    model = build()
    plain, weighted = (
        gradient_variance(build(), X, Y, "mse", PAIR, loss_weights=w)[PAIR.name].variance
        for w in (None, [3.0])
    )
    # The regulariser of the activities is not weighted, so the ratio is not exactly nine.
    model.compile("sgd", "mse", loss_weights=[3.0])
    assert weighted == pytest.approx(variance_of_pairs(model), rel=1e-4)
    assert weighted > 4 * plain


def test_clustering_takes_the_compiled_loss_and_weights():
    model = build(loss_weights=[3.0])
    options = {"representation": "full", "seed": 0}
    compiled = GradientClustering(2, **options).fit(model, X, Y)
    given = GradientClustering(2, **options).fit(model, X, Y, "mse", loss_weights=[3.0])
    plain = GradientClustering(2, **options).fit(model, X, Y, "mse")
    assert compiled.objective == pytest.approx(given.objective, rel=1e-6)
    assert compiled.objective[-1] > 2 * plain.objective[-1]


@pytest.mark.parametrize("name", MODELS)
def test_drawn_estimates_are_training_steps(name):
    """One draw of all the examples is the gradient of the whole data set, without noise."""
    model = MODELS[name]()
    whole = MiniBatch(N, replacement=False)
    found = gradient_variance(model, X, Y, None, whole, method="monte_carlo", num_draws=3)
    norm = np.sum(
        np.square(trained_gradient(model, slice(None)) - regularizer_gradient(model, name))
    )
    assert found[whole.name].variance == pytest.approx(0.0, abs=1e-8)
    assert found[whole.name].mean_gradient_norm ** 2 == pytest.approx(norm, rel=1e-4)


def regularizer_gradient(model, name):
    """A `compute_loss` of the model's own is taken as it is, with what it makes of regularisers."""
    if name == "own":
        return 0.0
    with tf.GradientTape() as tape:
        loss = sum(v.regularizer(v) for v in model.trainable_variables if v.regularizer)
    gradients = tape.gradient(
        loss, [v.value for v in model.trainable_variables], unconnected_gradients="zero"
    )
    return np.concatenate([tf.reshape(g, -1) for g in gradients]).astype("float64")


def test_drawn_estimates_of_examples_that_interact():
    model = build(keras.Model, Centred())
    pairs = [trained_gradient(model, list(p)) for p in itertools.combinations(range(N), 2)]
    expected = np.var(np.stack(pairs), axis=0).sum()
    with pytest.raises(ValueError, match=r"\(Centred\) makes of an example depends"):
        gradient_variance(model, X, Y, None, PAIR)
    options = {"method": "monte_carlo", "num_draws": 400, "normalized": False}
    found = gradient_variance(model, X, Y, None, PAIR, **options)[PAIR.name]
    error = found.standard_error * model.count_params()
    assert found.variance == pytest.approx(expected, abs=4 * error)


def test_unequal_coefficients_take_a_compute_loss_apart():
    strata = Stratified(np.array([0, 0, 0, 0, 1]), name="strata")
    exact = gradient_variance(build(Own), X, Y, None, strata)["strata"]
    options = {"method": "monte_carlo", "num_draws": 300, "normalized": False}
    drawn = gradient_variance(build(Own), X, Y, None, strata, **options)["strata"]
    assert drawn.average_variance == pytest.approx(
        exact.average_variance, abs=4 * drawn.standard_error
    )


class OwnSum(Own):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.sum(ops.abs(y - y_pred) ** 3)


def test_unequal_coefficients_refuse_a_compute_loss_that_is_no_mean():
    strata = Stratified(np.array([0, 0, 0, 0, 1]), name="strata")
    with pytest.raises(ValueError, match=r"`OwnSum\.compute_loss` must be a mean"):
        gradient_variance(build(OwnSum), X, Y, None, strata, method="monte_carlo", num_draws=3)
