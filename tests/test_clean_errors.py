"""A refusal inside a compiled function is a sentence, without pages of converted code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import ClusterModel, Discover, GradientClustering
from tf_gradvar.callbacks import BetweenClusterVariance, GradientVarianceLogger, Recluster
from tf_gradvar.estimators import MiniBatch, gradient_variance
from tf_gradvar.per_example import squared_norms
from tf_gradvar.training import train_steps

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = X[:, :1]
IDS = np.arange(8) % 2


def mean_loss(y_true, y_pred):
    """A loss that reduces over the batch: it has no per-example gradients."""
    return tf.reduce_mean(y_true - y_pred)


def model(loss="mse", optimizer="sgd"):
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(optimizer, loss)
    return made


def fit_with(callback):
    model().fit(X, Y, batch_size=4, verbose=0, callbacks=[callback])


def cluster_model(ids, **arguments):
    made = ClusterModel.from_model(model(), **arguments)
    made.compile(Discover(0.1, 2), "mse")
    data = tf.data.Dataset.from_tensor_slices(({"inputs": X, "cluster_ids": ids}, Y))
    return made, data.batch(4, drop_remainder=True)


def cluster_fit(ids, **arguments):
    made, data = cluster_model(ids, **arguments)
    made.fit(data, verbose=0)


def cluster_steps(ids, **arguments):
    made, data = cluster_model(ids, **arguments)
    next(train_steps(made, data, 1, steps_per_call=1))


def plain_steps_of_discover():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    next(train_steps(model(optimizer=Discover(0.1, 2)), data, 1, steps_per_call=1))


def clustering(**arguments):
    return GradientClustering(2, verbose=False, **arguments)


LOSS = {"loss": mean_loss}
CASES = {
    "squared_norms": lambda: squared_norms(model(), X, Y, mean_loss),
    "squared_norms in a graph": lambda: tf.function(
        lambda x, y: squared_norms(model(), x, y, mean_loss), autograph=False
    )(X, Y),
    "exact": lambda: gradient_variance(model(), X, Y, mean_loss, MiniBatch(4)),
    "subset": lambda: gradient_variance(
        model(), X, Y, mean_loss, MiniBatch(4), method="subset", subset_size=4
    ),
    "monte_carlo": lambda: gradient_variance(
        model(), X, Y, mean_loss, MiniBatch(4), method="monte_carlo"
    ),
    "clustering": lambda: clustering().fit(model(), X, Y, mean_loss),
    "partial_fit": lambda: clustering().partial_fit(model(), X, Y, mean_loss),
    "logger": lambda: fit_with(GradientVarianceLogger(X, Y, MiniBatch(4), every=1, **LOSS)),
    "between": lambda: fit_with(BetweenClusterVariance(X, Y, IDS, 2, every=1, **LOSS)),
    "recluster": lambda: fit_with(Recluster(clustering(), X, Y, mean_loss, every=1)),
    "ids": lambda: cluster_fit(IDS.astype("float32")),
    "groups": lambda: cluster_fit(IDS.astype("int32"), groups_per_batch=3),
    "ids in train_steps": lambda: cluster_steps(IDS.astype("float32")),
    "groups in train_steps": lambda: cluster_steps(IDS.astype("int32"), groups_per_batch=3),
    "Discover without clusters": lambda: model(optimizer=Discover(0.1, 2)).fit(X, Y, verbose=0),
    "Discover in train_steps": plain_steps_of_discover,
}


@pytest.mark.parametrize("name", CASES)
def test_a_sentence(name):
    with pytest.raises((ValueError, TypeError)) as caught:
        CASES[name]()
    message = str(caught.value)
    assert "in user code" not in message
    assert 'File "' not in message
    assert len(message) < 700
    assert "`" in message or "must" in message
