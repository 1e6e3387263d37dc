"""Every refusal is a sentence."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.problems import Enumerable
from tf_gradvar import estimators as package
from tf_gradvar.estimators import (
    SVRG,
    DiscoverEstimate,
    MiniBatch,
    Stratified,
    gradient_variance,
)
from tf_gradvar.optimizers import Discover

X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
Y = np.zeros((6, 1), "float32")
LABELS = np.array([0, 1, 2, 0, 1, 2])


def network(*layers):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name="head")])


def measure(estimators=None, *, model=None, x=X, y=Y, loss="mse", **options):
    model = model or network()
    return gradient_variance(model, x, y, loss, estimators or [MiniBatch(2)], **options)


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(2)


def frozen():
    model = network()
    model.trainable = False
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": network(keras.layers.BatchNormalization()), "training": True},
            "batch normalization: .* Use method='monte_carlo'",
        ),
        (
            {"model": network(keras.layers.BatchNormalization()), "training": True,
             "method": "subset"},
            "batch normalization: .* Use method='monte_carlo'",
        ),
        (
            {"model": network(keras.layers.Dropout(0.5)), "training": True},
            "random layers: .* Use method='monte_carlo'",
        ),
        (
            {"loss": lambda y, p: tf.reduce_mean((y - p) ** 2)},
            "`loss` must give one value per example",
        ),
        ({"x": X[:0], "y": Y[:0]}, "`x` must hold at least one example"),
        ({"x": dataset(X[:0], Y[:0]), "y": None}, "`x` must hold at least one example"),
        ({"model": frozen()}, "`model` must have trainable variables"),
        ({"y": Y[:5]}, "must have the same number of examples"),
        ({"sample_weight": np.ones(5)}, "must have the same number of examples"),
        ({"method": "monte_carlo", "num_draws": 1}, "`num_draws` must be at least 2"),
        ({"method": "paper_2020", "num_draws": 1}, "`num_draws` must be at least 2"),
        ({"method": "subset", "subset_size": 1}, "`subset_size` must be at least 2"),
        (
            {"estimators": [Stratified(LABELS)], "method": "subset", "subset_size": 5},
            "`subset_size` must be at least 6",
        ),
        ({"method": "guess"}, "`method` must be one of"),
        ({"chunk_size": 0}, "`chunk_size` must be an integer of at least 1"),
        ({"estimators": [MiniBatch(2), MiniBatch(2)]}, "`estimators` must have different names"),
        ({"estimators": ["SG"]}, "`estimators` must be a list of at least one estimator"),
        ({"estimators": [Stratified(LABELS[:5])]}, "one entry for each of the 6 examples"),
        (
            {"estimators": [Stratified(LABELS[:5])], "x": dataset(X, Y), "y": None},
            "one entry for each of the 6 examples",
        ),
        ({"estimators": [SVRG(2)]}, "'SVRG-2' must have a snapshot"),
        ({"estimators": [SVRG(2, snapshot=[X])]}, "must hold one array for each of the"),
        (
            {"estimators": [MiniBatch(7, replacement=False)]},
            "`batch_size` of 'SG-7-distinct' must be at most the 6 examples",
        ),
        (
            {"estimators": [Stratified(LABELS, samples_per_cluster=3, replacement=False)]},
            "`samples_per_cluster` of .* must be at most the 2 examples",
        ),
        ({"x": dataset(X, Y)}, "`y` and `sample_weight` must be None"),
        ({"x": dataset(X, Y).repeat(), "y": None}, "`x` must be a finite dataset"),
        ({"x": dataset(X), "y": None}, "`x` must be a dataset of batches"),
        ({"x": dataset(X, Y).take(0), "y": None}, "Received: an empty dataset"),
    ],
)  # fmt: skip
def test_bad_measurements(options, message):
    with pytest.raises(ValueError, match=message):
        measure(**options)


@pytest.mark.parametrize("loss", ["mse", keras.losses.BinaryCrossentropy(from_logits=True)])
@pytest.mark.parametrize("streamed", [False, True])
def test_labels_of_a_wrong_shape(loss, streamed):
    wrong = np.zeros((6, 4), "float32")
    data = {"x": dataset(X, wrong), "y": None} if streamed else {"y": wrong}
    with pytest.raises(ValueError, match="`y` must have the shape of the model's outputs"):
        measure(loss=loss, **data)


def test_labels_that_fit_their_loss():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for y in (LABELS, LABELS[:, None]):
        assert measure(model=model, y=y, loss=sparse)["SG-2"].variance > 0
    own = measure(y=np.ones((6, 4)), loss=lambda y, p: (y[:, 0] - p[:, 0]) ** 2)
    assert own["SG-2"].variance > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MiniBatch(0), "`batch_size` must be an integer of at least 1"),
        (lambda: SVRG(2.5), "`batch_size` must be an integer of at least 1"),
        (lambda: Stratified([0, -2]), "must be numbers of clusters from 0"),
        (lambda: Stratified([0, -1]), "must give every example a cluster here. Received -1"),
        (lambda: Stratified([0.0, 1.0]), "`assignments` must be integers of shape"),
        (lambda: Stratified([[0, 1], [1, 0]]), r"`np.argmax\(assignments, axis=-1\)`"),
        (lambda: Stratified([]), "`assignments` must be integers of shape"),
        (lambda: Stratified([0, 1], samples_per_cluster=0), "`samples_per_cluster` must be an"),
        (lambda: Stratified([0, 1], samples_per_cluster=[1, 1, 1]), "`samples_per_cluster` must"),
        (lambda: Stratified([0, 1], samples_per_cluster=1.5), "`samples_per_cluster` must"),
        (
            lambda: Stratified([0, 1], samples_per_cluster=[1, 2], expected_draws=[1, 2]),
            "`samples_per_cluster` and `expected_draws` exclude each other",
        ),
        (lambda: Stratified([0, 1], expected_draws=[1, 0.5]), "`expected_draws` must be 2 pos"),
        (lambda: Stratified([0, 1], expected_draws=[2, 0]), "`expected_draws` must be 2 positive"),
        (lambda: Stratified([0, 1], expected_draws=[1, 1, 1]), "`expected_draws` must be 2 pos"),
        (
            lambda: Stratified([0, 1]).reassign([0, 1], expected_draws=[1, 1]),
            "`expected_draws` are for estimators that were made with them",
        ),
        (
            lambda: DiscoverEstimate(keras.optimizers.SGD(), LABELS, group_size=2),
            "`optimizer` must keep cluster gradients",
        ),
        (
            lambda: DiscoverEstimate(Discover(0.1, num_clusters=4), LABELS, group_size=2),
            "`assignments` gives no example of cluster 3 of 4",
        ),
        (
            lambda: DiscoverEstimate(Discover(0.1, num_clusters=2), LABELS, group_size=2),
            r"`assignments` must lie in \[0, 2\)",
        ),
        (
            lambda: DiscoverEstimate(Discover(0.1, num_clusters=3), LABELS, group_size=0),
            "`group_size` must be an integer",
        ),
        (
            lambda: DiscoverEstimate(
                Discover(0.1, num_clusters=3), LABELS, group_size=1, groups_per_batch=0
            ),
            "`groups_per_batch` must be an integer",
        ),
    ],
)
def test_bad_estimators(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_optimizer_of_another_model():
    optimizer = Discover(0.1, num_clusters=3)
    estimate = DiscoverEstimate(optimizer, LABELS, group_size=1)
    with pytest.raises(ValueError, match="`optimizer` must be built with the trainable"):
        measure([estimate])
    optimizer.build(network(keras.layers.Dense(2)).trainable_variables)
    with pytest.raises(ValueError, match="`optimizer` must be built with the trainable"):
        measure([estimate])


def test_discover_inside_a_loss_scale_optimizer():
    inner = Discover(0.1, num_clusters=3, gain=1.0)
    estimate = DiscoverEstimate(
        keras.optimizers.LossScaleOptimizer(inner), LABELS, group_size=2, replacement=False
    )
    model = network()
    inner.build(model.trainable_variables)
    result = measure([estimate], model=model)["Discover-1x2"]
    # Zero buffers and groups of all their cluster's examples: nothing varies within.
    assert result.parts["within"] == 0.0
    assert result.parts["between"] == pytest.approx(result.average_variance)


def test_more_examples_than_a_group_without_replacement():
    optimizer = Discover(0.1, num_clusters=3)
    model = network()
    optimizer.build(model.trainable_variables)
    estimate = DiscoverEstimate(optimizer, LABELS, group_size=3, replacement=False)
    with pytest.raises(ValueError, match="`group_size` of 'Discover-1x3' must be at most the 2"):
        measure([estimate], model=model)


@pytest.mark.parametrize("method", ["exact", "subset", "monte_carlo", "paper_2020"])
def test_gradients_that_are_not_finite_are_named(method, caplog):
    model = network(keras.layers.Dense(2, name="hidden"))
    x = np.array(X)
    x[:, 0] = np.nan
    with caplog.at_level(logging.WARNING):
        result = measure(model=model, x=x, method=method, num_draws=3, subset_size=4)["SG-2"]
    assert np.isnan(result.average_variance)
    assert np.isnan(result.normalized_variance)
    assert any("hidden" in name for name in result.not_finite_layers)
    assert "hidden" in caplog.text


def test_names_of_the_package():
    assert set(package.__all__) <= {*dir(package), "VarianceMeter", "gradient_variance"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_reassigning():
    stratified = Stratified(LABELS)
    stratified.reassign([0, 1, 0, 1, 0, 1])
    assert stratified.samples_per_cluster.tolist() == [1, 1]
    assert stratified.name == "stratified-3"
    with pytest.raises(ValueError, match="must give every example a cluster"):
        stratified.reassign([-1, 1, 1, 1, 1, 1])
    assert len(stratified.assignments) == Enumerable.N
    stratified.reassign([7, 7, 9, 7, 7, 7])
    assert stratified.assignments.tolist() == [0, 0, 1, 0, 0, 0]


def test_reassigning_keeps_the_expected_draws_or_takes_others():
    stratified = Stratified([0, 0, 1, 1, 1, 1], expected_draws=[0.5, 1.5])
    stratified.reassign([0, 1, 0, 1, 0, 1])
    assert stratified.expected_draws.tolist() == [0.5, 1.5]
    stratified.reassign([0, 1, 0, 2, 0, 1], expected_draws=[0.5, 0.5, 1])
    assert stratified.expected_draws.tolist() == [0.5, 0.5, 1]
    assert stratified.name == "stratified-2-random"
    with pytest.raises(ValueError, match="`expected_draws` must be 2 positive numbers"):
        stratified.reassign([0, 1, 0, 1, 0, 1])
