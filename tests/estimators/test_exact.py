"""Exact variances against the variance over all possible batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import estimator_oracle as oracle
from tests.problems import Enumerable
from tf_gradvar.estimators import (
    SVRG,
    DiscoverEstimate,
    MiniBatch,
    Stratified,
    gradient_variance,
)
from tf_gradvar.optimizers import Discover

PROBABILITIES = [0.5, 0.3, 0.2]
SCALES = [0.0, 0.3, 1.0, 0.6, 0.9, 0.2]  # of the variables, as if they had been learned
SAME = np.zeros(Enumerable.N, int)


@pytest.fixture(scope="module")
def solved():
    return Enumerable.make("float64")


@pytest.fixture(scope="module")
def solved32():
    return Enumerable.make("float32")


def tolerance(solved):
    return 1e-6 if solved.x.dtype == np.float64 else 3e-5


def discover(solved, gain=1.0, scale=1.0, **options):
    """A Discover optimizer with random buffers, and these as a matrix [K, P]."""
    optimizer = Discover(
        0.1, num_clusters=3, cluster_probabilities=PROBABILITIES, gain=gain, scale=scale
    )
    optimizer.build(solved.model.trainable_variables)
    if scale == "auto":
        optimizer.correction_scale.assign(SCALES[: len(solved.model.trainable_variables)])
    buffers = np.random.default_rng(0).normal(size=(3, solved.gradients.shape[1]))
    buffers = buffers.astype("float32")
    for variable, values in zip(optimizer.cluster_gradients, solved.split(buffers), strict=True):
        variable.assign(values)
    average = np.einsum("k,kp->p", PROBABILITIES, buffers.astype("float64"))
    for variable, values in zip(
        optimizer.mean_cluster_gradients, solved.split(average), strict=True
    ):
        variable.assign(values)
    return DiscoverEstimate(optimizer, Enumerable.ASSIGNMENTS, **options), buffers.astype("float64")


def cases(solved):
    """Each estimator with the list of everything it can draw."""
    g, h, groups = solved.gradients, solved.at_snapshot, Enumerable.ASSIGNMENTS
    found = []
    for replacement in (True, False):
        found += [
            (MiniBatch(2, replacement=replacement), oracle.mini_batch(g, 2, replacement)),
            (
                SVRG(2, snapshot=solved.snapshot, replacement=replacement),
                oracle.svrg(g, h, 2, replacement),
            ),
            (
                Stratified(groups, replacement=replacement, name=f"one{replacement}"),
                oracle.stratified(g, groups, 1, replacement),
            ),
            (
                Stratified(
                    groups,
                    samples_per_cluster=[1, 2, 1],
                    replacement=replacement,
                    name=f"more{replacement}",
                ),
                oracle.stratified(g, groups, [1, 2, 1], replacement),
            ),
        ]
    for size, count, replacement in ((1, 1, True), (2, 1, True), (1, 2, True), (1, 2, False)):
        estimate, buffers = discover(
            solved,
            group_size=size,
            groups_per_batch=count,
            replacement=replacement,
            name=f"discover{size}{count}{replacement}",
        )
        drawn = oracle.discover(g, groups, PROBABILITIES, buffers, size, count, replacement)
        found.append((estimate, drawn))
    for gain, scale in ((0.3, 1.0), ("alpha", 1.0), (1.0, 0.4), (0.3, 0.4), (1.0, "auto")):
        estimate, buffers = discover(
            solved, gain, scale, group_size=1, groups_per_batch=2, name=f"discover{gain}{scale}"
        )
        numbers = {"gain": 0.1 if gain == "alpha" else gain, "scale": scale}
        if scale == "auto":
            numbers["scale"] = by_coordinate(solved, SCALES)
        drawn = oracle.discover(g, groups, PROBABILITIES, buffers, 1, 2, **numbers)
        found.append((estimate, drawn))
    return found


def by_coordinate(solved, values):
    """One value for each variable, repeated for its coordinates, [P]."""
    sizes = [int(np.prod(variable.shape)) for variable in solved.model.trainable_variables]
    return np.repeat(values[: len(sizes)], sizes)


@pytest.mark.parametrize(
    ("precision", "chunk_size"), [("solved", 1), ("solved", 256), ("solved32", 256)]
)
def test_exact_is_the_variance_over_all_batches(request, precision, chunk_size):
    solved = request.getfixturevalue(precision)
    pairs = cases(solved)
    found = gradient_variance(*solved.data, [e for e, _ in pairs], chunk_size=chunk_size)
    assert list(found) == [estimator.name for estimator, _ in pairs]
    for estimator, drawn in pairs:
        result, expected = found[estimator.name], oracle.variance(drawn)
        assert result.variance == pytest.approx(expected, rel=tolerance(solved)), estimator
        size = solved.gradients.shape[1]
        assert result.average_variance == pytest.approx(expected / size, rel=tolerance(solved))
        assert result.normalized_variance == pytest.approx(
            oracle.normalized_variance(drawn), rel=tolerance(solved)
        ), estimator
        assert result.standard_error is None
        assert result.num_parameters == size


def test_every_estimator_is_unbiased(solved):
    """The enumerated oracle itself: all but Discover's have the full gradient as their mean."""
    for estimator, drawn in cases(solved):
        if not isinstance(estimator, DiscoverEstimate):
            np.testing.assert_allclose(oracle.mean(drawn), solved.gradients.mean(axis=0))


def test_companions_and_layers(solved):
    pairs = cases(solved)
    found = gradient_variance(*solved.data, [e for e, _ in pairs], per_layer=True)
    g = solved.gradients
    squared_mean = (g.mean(axis=0) ** 2).sum()
    noise_scale = g.var(axis=0).sum() / squared_mean
    for estimator, drawn in pairs:
        result = found[estimator.name]
        assert result.noise_scale == pytest.approx(noise_scale, rel=tolerance(solved))
        assert result.mean_gradient_norm == pytest.approx(
            np.sqrt(squared_mean), rel=tolerance(solved)
        )
        layers = result.per_layer
        assert next(iter(layers)).endswith("hidden")
        assert sum(layer.variance for layer in layers.values()) == pytest.approx(result.variance)
        assert sum(
            layer.normalized_variance * layer.num_parameters for layer in layers.values()
        ) == pytest.approx(result.normalized_variance * result.num_parameters)
        hidden = next(iter(layers.values()))
        size = hidden.num_parameters
        assert size == Enumerable.HIDDEN * (Enumerable.INPUTS + 1)
        expected = oracle.coordinate_variances(drawn)[:size].sum()
        assert hidden.average_variance == pytest.approx(expected / size, rel=tolerance(solved))


def test_discover_reports_both_forms(solved):
    estimate, buffers = discover(solved, group_size=2, groups_per_batch=3)
    result = gradient_variance(*solved.data, estimate)[estimate.name]
    g, groups = solved.gradients, Enumerable.ASSIGNMENTS
    means = np.stack([g[groups == k].mean(axis=0) for k in range(3)])
    d = means - buffers
    q = np.array(PROBABILITIES)
    within = sum(q[k] * g[groups == k].var(axis=0).sum() for k in range(3)) / 2 / 3
    between = sum(q[k] * ((d[k] - q @ d) ** 2).sum() for k in range(3)) / 3
    buffered = sum(q[k] * (d[k] ** 2).sum() for k in range(3)) / 3
    expected = {
        "within": within,
        "between": between,
        "buffered_between": buffered,
        "squared_bias": 0.0,
    }
    size = g.shape[1]
    assert result.parts == {
        key: pytest.approx(value / size, rel=tolerance(solved)) for key, value in expected.items()
    }


@pytest.mark.parametrize(("gain", "scale"), [(0.3, 1.0), (1.0, 0.4), (0.3, 0.4), (1.0, "auto")])
def test_bias_and_variance_of_discover_apart(solved, gain, scale):
    estimate, buffers = discover(solved, gain, scale, group_size=1, groups_per_batch=2)
    parts = gradient_variance(*solved.data, estimate)[estimate.name].parts
    g, groups = solved.gradients, Enumerable.ASSIGNMENTS
    number = by_coordinate(solved, SCALES) if scale == "auto" else scale
    drawn = oracle.discover(g, groups, PROBABILITIES, buffers, 1, 2, gain=gain, scale=number)
    size = g.shape[1]
    risk = sum(q * g[groups == k].mean(axis=0) for k, q in enumerate(PROBABILITIES))
    bias = ((oracle.mean(drawn) - risk) ** 2).sum() / size
    assert parts["squared_bias"] == pytest.approx(bias, rel=tolerance(solved), abs=1e-12)
    assert (bias > 1e-3) == (gain < 1.0)
    variance = oracle.variance(drawn) / size
    assert parts["within"] + parts["between"] == pytest.approx(variance, rel=tolerance(solved))


def test_svrg_at_its_snapshot_has_no_variance(solved):
    svrg = SVRG(2)
    svrg.take_snapshot(solved.model)
    result = gradient_variance(*solved.data, svrg)[svrg.name]
    assert (result.variance, result.normalized_variance) == (0.0, 0.0)


def test_batch_of_everything_without_replacement_has_no_variance(solved):
    everything = MiniBatch(Enumerable.N, replacement=False)
    assert gradient_variance(*solved.data, everything)[everything.name].variance == 0.0


def test_one_cluster_is_a_mini_batch(solved):
    both = [MiniBatch(4), Stratified(SAME, samples_per_cluster=4, name="one")]
    found = gradient_variance(*solved.data, both)
    assert found["one"].variance == pytest.approx(found["SG-4"].variance, rel=1e-9)


def test_without_the_normalized_variance(solved):
    pairs = cases(solved)
    estimators = [e for e, _ in pairs]
    full = gradient_variance(*solved.data, estimators)
    cheap = gradient_variance(*solved.data, estimators, normalized=False)
    for name, result in cheap.items():
        assert result.normalized_variance is None
        assert result.variance == pytest.approx(full[name].variance, rel=1e-9)


def test_a_dataset_gives_the_same(solved):
    pairs = cases(solved)
    estimators = [e for e, _ in pairs]
    data = tf.data.Dataset.from_tensor_slices((solved.x, solved.y)).batch(4)
    streamed = gradient_variance(solved.model, data, None, solved.loss, estimators)
    arrays = gradient_variance(*solved.data, estimators)
    for name, result in streamed.items():
        assert result.variance == pytest.approx(arrays[name].variance, rel=1e-5)
        assert result.normalized_variance == pytest.approx(
            arrays[name].normalized_variance, rel=1e-5
        )


def test_sample_weights_multiply_the_gradients(solved):
    weights = np.linspace(0.5, 2.0, Enumerable.N)
    result = gradient_variance(*solved.data, MiniBatch(2), sample_weight=weights)["SG-2"]
    drawn = oracle.mini_batch(weights[:, None] * solved.gradients, 2)
    assert result.variance == pytest.approx(oracle.variance(drawn), rel=tolerance(solved))
    data = tf.data.Dataset.from_tensor_slices((solved.x, solved.y, weights)).batch(4)
    streamed = gradient_variance(solved.model, data, None, solved.loss, MiniBatch(2))["SG-2"]
    assert streamed.variance == pytest.approx(result.variance, rel=1e-5)


def test_structures_of_inputs():
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(5, 2)).astype("float32") for name in ("a", "b")}
    y = rng.normal(size=(5, 1)).astype("float32")
    inputs = {name: keras.Input((2,), name=name) for name in x}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(1)(joined))
    together = np.concatenate(list(x.values()), axis=1).astype("float64")
    residual = together @ model.get_weights()[0] + model.get_weights()[1] - y
    gradients = 2 * residual * np.concatenate([together, np.ones((5, 1))], axis=1)
    for method in ("exact", "subset"):
        found = gradient_variance(model, x, y, "mse", MiniBatch(3), method, subset_size=5)
        assert found["SG-3"].variance == pytest.approx(gradients.var(axis=0).sum() / 3, rel=1e-5)
