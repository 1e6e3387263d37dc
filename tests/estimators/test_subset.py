"""Estimates from a subset: unbiased over all subsets, with an honest standard error."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.test_exact import discover
from tests.problems import Enumerable
from tf_gradvar.estimators import SVRG, MiniBatch, Stratified, gradient_variance
from tf_gradvar.estimators.measure import VarianceMeter
from tf_gradvar.estimators.protocol import Between
from tf_gradvar.estimators.strata import Population, Strata, Stratum
from tf_gradvar.estimators.subset import Seen, choose_subset, standard_error
from tf_gradvar.moments import Layout, Sums

CLUSTERS = np.array([0, 0, 0, 0, 1, 1, 1])
LAYOUT = Layout(("layer",), (0,), (2,))


def stratum(gradients, seen, k):
    """The statistics of the chosen members of cluster k, coordinates included."""
    rows = gradients[list(seen)]
    squares = (rows**2).sum(0)
    sums = Sums(len(rows), squares.sum(keepdims=True), [rows.sum(0)], [squares])
    return Stratum(k, int((k == CLUSTERS).sum()), len(CLUSTERS), sums, LAYOUT)


def test_every_statistic_is_unbiased_over_all_subsets():
    """All ways to choose 2 of 4 and 2 of 3 examples, each statistic averaged over them."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=(7, 2)) + 0.5
    q, offsets, c = np.array([0.3, 0.7]), rng.normal(size=(2, 2)), np.array([0.2, 0.5])
    fixed = Between(q, lambda k: [offsets[k]], 0.5, np.array([0.6, 1.5]))

    found = []
    for some in itertools.combinations(range(4), 2):
        for others in itertools.combinations(range(4, 7), 2):
            population = Population(LAYOUT, coordinates=True)
            strata = Strata(LAYOUT, c, None, coordinates=True)
            between = Strata(LAYOUT, 0 * c, fixed, coordinates=True)
            for k, seen in enumerate((some, others)):
                part = stratum(g, seen, k)
                for collector in (population, strata, between):
                    collector.add(part)
            differences = between._differences
            exact = differences.m2[0].sum() - between._distance_error[0]
            squared_centre = (differences.mean[0] ** 2).sum()
            found.append(
                [
                    population._sums.squared_norms[0] - population.squared_mean[0],
                    population.squared_mean[0],
                    strata.within[0],
                    0.5 * (exact + between._centre_error[0]),
                    0.5 * (exact + squared_centre),
                    (population._sums.squares[0] - population.squared_means[0])[1],
                    population.squared_means[0][1],
                    strata._spread[0][1],
                ]
            )
    m = np.stack([g[k == CLUSTERS].mean(0) for k in range(2)])
    v = np.stack([g[k == CLUSTERS].var(0) for k in range(2)])
    d = fixed.factors[:, None] * m - offsets
    expected = [
        g.var(0).sum(),
        (g.mean(0) ** 2).sum(),
        (c @ v).sum(),
        0.5 * (q @ ((d - q @ d) ** 2)).sum(),
        0.5 * (q @ d**2).sum(),
        g.var(0)[1],
        g.mean(0)[1] ** 2,
        (c @ v)[1],
    ]
    np.testing.assert_allclose(np.mean(found, axis=0), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def large():
    return Enumerable.make("float32", count=240)


def large_estimators(large):
    groups = np.arange(240) % 5 % 3
    return [
        MiniBatch(4),
        MiniBatch(4, replacement=False),
        SVRG(4, snapshot=large.snapshot),
        Stratified(groups, samples_per_cluster=[2, 1, 1], name="clusters"),
        Stratified(groups[::-1], name="other clusters"),
    ]


def test_average_and_spread_over_many_subsets(large):
    """The mean of 30 estimates agrees with the truth, and their spread with the standard error."""
    estimators = large_estimators(large)
    exact = gradient_variance(*large.data, estimators)
    meter = VarianceMeter(
        *large.data, estimators, method="subset", subset_size=60, normalized=False
    )
    runs = [meter.measure(step).results for step in range(30)]
    for estimator in estimators:
        values = np.array([run[estimator.name].average_variance for run in runs])
        errors = np.array([run[estimator.name].standard_error for run in runs])
        truth = exact[estimator.name].average_variance
        standard_error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - truth) < 4 * standard_error, estimator
        assert 0.65 < np.sqrt((errors**2).mean()) / values.std(ddof=1) < 1.5, estimator


def test_normalized_variance_and_companions_of_a_subset(large):
    exact = gradient_variance(*large.data, large_estimators(large))
    some = gradient_variance(*large.data, large_estimators(large), "subset", subset_size=200)
    for name, result in some.items():
        assert result.method == "subset"
        truth = exact[name]
        assert result.normalized_variance == pytest.approx(truth.normalized_variance, rel=0.1)
        assert result.noise_scale == pytest.approx(truth.noise_scale, rel=0.3)
        assert result.mean_gradient_norm == pytest.approx(truth.mean_gradient_norm, rel=0.2)


def test_a_subset_of_everything_is_exact(large):
    exact = gradient_variance(*large.data, large_estimators(large))
    some = gradient_variance(*large.data, large_estimators(large), "subset", subset_size=500)
    for name, result in some.items():
        assert result.variance == exact[name].variance
        assert result.standard_error == 0.0


@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_discover_on_a_subset(large, gain):
    estimate, _ = discover(large, gain, group_size=2)
    estimate.assignments = np.arange(240) % 3
    exact = gradient_variance(*large.data, estimate)[estimate.name]
    meter = VarianceMeter(*large.data, estimate, method="subset", subset_size=60)
    runs = [meter.measure(step).results[estimate.name] for step in range(20)]
    assert all(run.standard_error is None for run in runs)
    for part, value in exact.parts.items():
        values = np.array([run.parts[part] for run in runs])
        assert abs(values.mean() - value) <= 4 * values.std(ddof=1) / np.sqrt(len(values))
    normalized = [run.normalized_variance for run in runs]
    assert np.mean(normalized) == pytest.approx(exact.normalized_variance, abs=0.02)


def test_a_dataset_and_chunks_give_the_same(large):
    data = tf.data.Dataset.from_tensor_slices((large.x, large.y)).batch(50)
    options = {"method": "subset", "subset_size": 60, "seed": 3}
    arrays = gradient_variance(*large.data, large_estimators(large), **options)
    model, loss = large.model, large.loss
    streamed = gradient_variance(model, data, None, loss, large_estimators(large), **options)
    pieces = gradient_variance(*large.data, large_estimators(large), chunk_size=7, **options)
    for name, result in arrays.items():
        for other in (streamed[name], pieces[name]):
            assert other.variance == pytest.approx(result.variance, rel=1e-5)
            assert other.standard_error == pytest.approx(result.standard_error, rel=1e-4)


@pytest.mark.parametrize("size", [8, 9, 10, 15, 19])
def test_shares_of_the_clusters(size):
    assignments = np.repeat([0, 1, 2, 3, 4], [1, 10, 2, 4, 3])
    chosen = choose_subset(assignments, 20, size, np.random.default_rng(0)) if size > 8 else None
    if chosen is None:
        with pytest.raises(ValueError, match="`subset_size` must be at least 9"):
            choose_subset(assignments, 20, size, np.random.default_rng(0))
        return
    counts = [len(indices) for indices in chosen]
    assert sum(counts) == size
    assert all(low <= n <= high for low, n, high in zip([1, 2, 2, 2, 2], counts, [1, 10, 2, 4, 3],
                                                        strict=True))  # fmt: skip
    for k, indices in enumerate(chosen):
        assert set(indices) <= set(np.flatnonzero(assignments == k))
        assert len(set(indices)) == len(indices)


@pytest.mark.parametrize("clustered", [True, False])
def test_the_squared_standard_error_is_unbiased_over_all_subsets(clustered):
    """2 of 4 and 2 of 3 examples in all ways, of a statistic that is linear in the examples.

    Where the mean gradient is 0, the statistic is a weighted sum of the strata's mean squared
    norms, whose variance over the subsets is counted here.
    """
    norms = [np.array([1.0, 4.0, 9.0, 2.0]), np.array([5.0, 3.0, 7.0])]
    coefficients = np.array([0.2, 0.5]) if clustered else np.array([0.3])
    weights = coefficients if clustered else 0.3 * np.array([4, 3]) / 7
    estimates, squared_errors = [], []
    for some in itertools.combinations(range(4), 2):
        for others in itertools.combinations(range(3), 2):
            chosen = [norms[0][list(some)], norms[1][list(others)]]
            estimates.append(weights[0] * chosen[0].mean() + weights[1] * chosen[1].mean())
            seen = [Seen(k, len(norms[k]), part, np.zeros((2, 5))) for k, part in enumerate(chosen)]
            squared_errors.append(standard_error(seen, coefficients, clustered=clustered) ** 2)
    assert np.mean(squared_errors) == pytest.approx(np.var(estimates), rel=1e-12)
