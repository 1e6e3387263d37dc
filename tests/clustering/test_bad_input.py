"""Refusals of a clustering, each a sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.problems import clustered_convolutions, clustered_mlp, cross_entropy
from tf_gradvar import GradientClustering

LOSS = cross_entropy()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clusters": 0}, "`num_clusters` must be an integer of at least 1"),
        ({"num_clusters": 2.5}, "`num_clusters` must be an integer of at least 1"),
        ({"representation": "rank2"}, "`representation` must be one of"),
        ({"assignment": "greedy"}, "`assignment` must be one of"),
        ({"seed": -1}, "`seed` must be a non-negative integer"),
        ({"max_passes": 0}, "`max_passes` must be an integer of at least 1"),
        ({"tolerance": -0.1}, "`tolerance` must be a number in"),
        ({"sketch_size": 0}, "`sketch_size` must be an integer of at least 1"),
        ({"rank": 0}, "`rank` must be an integer of at least 1"),
        ({"max_size_ratio": 0.5}, "`max_size_ratio` must be a number in"),
        ({"on_not_finite": "ignore"}, "`on_not_finite` must be one of"),
        ({"online_rate": 1.0}, "`online_rate` must be a number in"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        (
            {"assignment": "paper", "max_size_ratio": 2.0},
            "`max_size_ratio` must be None for `assignment='paper'`",
        ),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientClustering(**{"num_clusters": 3, **arguments})


def test_more_clusters_than_examples():
    model, x, y, _ = clustered_mlp()
    clustering = GradientClustering(42)
    with pytest.raises(
        ValueError, match=r"`num_clusters` must be at most .* num_clusters=42 for 41"
    ):
        clustering.fit(model, x, y, LOSS)
    with pytest.raises(ValueError, match="num_clusters=42 for 41"):
        clustering.partial_fit(model, x, y, LOSS)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (np.zeros(40, int), r"of shape \(41,\).*Received shape \(40,\)"),
        (np.zeros(41), "dtype float64"),
        (np.full(41, 3), r"must lie in \[0, 3\).* from 3 to 3"),
        (np.full(41, -2), "numbers from -2"),
    ],
)
def test_initial_assignments(assignments, message):
    model, x, y, _ = clustered_mlp()
    with pytest.raises(ValueError, match=f"`initial_assignments` .*{message}"):
        GradientClustering(3).fit(model, x, y, LOSS, initial_assignments=assignments)


def test_layers_that_are_not_there():
    model, x, y, _ = clustered_mlp()
    for layers in (["body"], ["head", "body"], []):
        with pytest.raises(ValueError, match=r"`layers` must be names .*'net/hidden', 'net/head'"):
            GradientClustering(3, layers=layers).fit(model, x, y, LOSS)


def test_gradients_that_are_not_finite():
    model, x, y, _ = clustered_mlp()
    bad = x.copy()
    bad[[3, 17], 0] = np.nan
    message = "gradients of 2 of 41 examples are infinite or not a number, of these: 3, 17"
    with pytest.raises(ValueError, match=message):
        GradientClustering(3).fit(model, bad, y, LOSS)
    clustering = GradientClustering(3, on_not_finite="exclude")
    clustering.fit(model, bad, y, LOSS)
    for method in (clustering.predict, clustering.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(model, bad, y, LOSS)
    with pytest.raises(ValueError, match="num_clusters=40 for 39 examples"):
        GradientClustering(40, on_not_finite="exclude").fit(model, bad, y, LOSS)


def test_gradients_that_are_all_zero():
    model, x, y, _ = clustered_mlp()
    for weights in (np.zeros(41, "float32"),):
        with pytest.raises(ValueError, match="must not all be zero"):
            GradientClustering(3).fit(model, x, y, LOSS, sample_weight=weights)


def test_no_loss_and_no_clusters(tmp_path):
    model, x, y, _ = clustered_mlp()
    with pytest.raises(ValueError, match="`loss` must be given for the model"):
        GradientClustering(3).fit(model, x, y)
    with pytest.raises(ValueError, match="`predict` needs clusters"):
        GradientClustering(3).predict(model, x, y, LOSS)
    with pytest.raises(ValueError, match="`save` needs clusters"):
        GradientClustering(3).save(tmp_path / "clusters")
    with pytest.raises(ValueError, match="`path` must be a file that `save` wrote"):
        GradientClustering.load(tmp_path / "missing")


def test_batch_statistics():
    _, x, y, _ = clustered_convolutions()

    class Training(keras.Model):
        def __init__(self):
            super().__init__()
            self.normalize = keras.layers.BatchNormalization()
            self.head = keras.layers.Dense(3)

        def call(self, inputs):
            flat = keras.ops.reshape(inputs, (-1, 7 * 8 * 2))
            return self.head(self.normalize(flat, training=True))

    model = Training()
    model(x)
    with pytest.raises(ValueError, match="batch statistics make the examples interact"):
        GradientClustering(3).fit(model, x, y, LOSS)


def test_data():
    model, x, y, _ = clustered_mlp()
    clustering = GradientClustering(3)
    with pytest.raises(ValueError, match="same number of examples"):
        clustering.fit(model, x, y[:-1], LOSS)
    with pytest.raises(ValueError, match="at least one example"):
        clustering.fit(model, x[:0], y[:0], LOSS)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    with pytest.raises(ValueError, match="finite dataset"):
        clustering.fit(model, batches.repeat(), loss=LOSS)
    with pytest.raises(ValueError, match="Received: an empty dataset"):
        clustering.fit(model, batches.take(0), loss=LOSS)
