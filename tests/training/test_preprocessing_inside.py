"""Models that take text or categories measure and train as those that take the numbers do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.problems import flattens_any_lengths
from tf_gradvar import ClusterModel, Discover, GradientClustering, cluster_batches
from tf_gradvar.callbacks import BetweenClusterVariance, GradientVarianceLogger, Recluster, at
from tf_gradvar.estimators import MiniBatch, gradient_variance
from tf_gradvar.per_example import squared_norms

TEXT = np.array(["a b", "b c", "c d d", "a"] * 4)
CATEGORIES = np.array([[11], [13], [11], [12]] * 4)
Y = np.random.default_rng(0).integers(0, 2, 16)
IDS = np.arange(16) % 2
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def text():
    """Inputs, the layer that reads them, the numbers that it gives, and the layers behind it."""
    layer = keras.layers.TextVectorization(max_tokens=6, output_sequence_length=3)
    layer.adapt(TEXT)
    if not flattens_any_lengths():
        pytest.skip("Flatten of this version of Keras must know the lengths")
    behind = [keras.layers.Embedding(6, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    return TEXT, [keras.Input((), dtype="string"), layer], layer(TEXT).numpy(), behind


def categories():
    layer = keras.layers.IntegerLookup(output_mode="one_hot")
    layer.adapt(CATEGORIES)
    inputs = [keras.Input((1,), dtype="int64"), layer]
    return CATEGORIES, inputs, layer(CATEGORIES).numpy(), [keras.layers.Dense(2)]


@pytest.fixture(params=[text, categories], ids=["text", "categories"])
def pair(request):
    """(model, its inputs) with the layer inside, and the same without."""
    x, first, numbers, behind = request.param()
    keras.utils.set_random_seed(0)
    whole = keras.Sequential([*first, *behind])
    rest = keras.Sequential([keras.Input(numbers.shape[1:], dtype=numbers.dtype), *behind])
    return (whole, x), (rest, numbers)


def test_squared_norms(pair):
    (whole, x), (rest, numbers) = pair
    expected = squared_norms(rest, numbers, Y, LOSS)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(squared_norms(whole, x, Y, LOSS), expected, rtol=1e-6)
    compiled = tf.function(lambda x, y: squared_norms(whole, x, y, LOSS))
    np.testing.assert_allclose(compiled(x, Y), expected, rtol=1e-6)


def test_variance_and_clusters(pair):
    found = [
        gradient_variance(model, x, Y, LOSS, MiniBatch(4))["SG-4"].variance for model, x in pair
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    clusters = [
        GradientClustering(2, verbose=False).fit(model, x, Y, LOSS).assignments for model, x in pair
    ]
    np.testing.assert_array_equal(*clusters)


def test_callbacks(pair):
    records = []
    start = pair[1][0].get_weights()
    for model, x in pair:
        model.set_weights(start)
        model.compile("sgd", LOSS, run_eagerly=True)
        callbacks = [
            GradientVarianceLogger(x, Y, MiniBatch(4), every=at([2])),
            BetweenClusterVariance(x, Y, IDS, 2, every=2),
            Recluster(GradientClustering(2, verbose=False), x, Y, every=2, start=2),
        ]
        tensors = tf.constant(x) if x.dtype.kind == "U" else x
        model.fit(tensors, Y, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks)
        logged, between, clustered = (callback.history for callback in callbacks)
        records.append([
            logged[0]["estimators"]["SG-4"]["average_variance"],
            between[0]["sgd"],
            clustered[0]["objective"][-1],
        ])  # fmt: skip
    np.testing.assert_allclose(*records, rtol=1e-4)


def test_cluster_model(pair):
    (whole, x), (rest, numbers) = pair
    start, found = rest.get_weights(), []
    for model, inputs in ((whole, x), (rest, numbers)):
        model.set_weights(start)
        clusters = ClusterModel.from_model(model)
        clusters.compile(Discover(0.5, 2, gain=1.0), LOSS, run_eagerly=True)
        batches = cluster_batches(
            (inputs, Y), IDS, num_clusters=2, group_size=4, groups_per_batch=2, seed=0
        )
        clusters.fit(batches, steps_per_epoch=2, verbose=0)
        found.append(model.get_weights())
    for one, other, before in zip(*found, start, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(one - before).max() > 1e-3
