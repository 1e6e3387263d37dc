"""Additive statistics against float64 NumPy on the whole data."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_gradvar import moments

RNG = np.random.default_rng(0)
# A mean far from zero in float32: E[g^2] - (E g)^2 would lose every digit there.
SAMPLES = [
    (1e3 + RNG.normal(size=(40, 3, 2))).astype("float32"),
    (RNG.normal(size=(40, 5)) * [1, 1e-3, 0, 1e3, 1]).astype("float32"),
]


def flat():
    return np.concatenate([s.reshape(40, -1) for s in SAMPLES], axis=1).astype("float64")


def brute_normalized_variance(samples, draws=1):
    spread = samples.var(axis=0) / draws
    power = spread + samples.mean(axis=0) ** 2
    return np.mean([s / p if p > 0 else 0.0 for s, p in zip(spread, power, strict=True)])


cuts = st.lists(st.integers(1, 39), max_size=6, unique=True).map(sorted)


@settings(deadline=None, max_examples=60)
@given(cuts)
def test_results_do_not_depend_on_the_cut(cut):
    edges = [0, *cut, 40]
    parts = [
        moments.Moments.of_samples([s[a:b] for s in SAMPLES]) for a, b in itertools.pairwise(edges)
    ]
    merged = moments.merge(parts)
    samples = flat()
    np.testing.assert_allclose(moments.variance(merged), samples.var(axis=0).sum(), rtol=1e-12)
    np.testing.assert_allclose(
        moments.normalized_variance(merged), brute_normalized_variance(samples), rtol=1e-12
    )
    mean = samples.mean(axis=0)
    np.testing.assert_allclose(
        moments.noise_scale(merged, ddof=1),
        samples.var(axis=0, ddof=1).sum() / (mean @ mean),
        rtol=1e-12,
    )


@settings(deadline=None, max_examples=30)
@given(cuts, st.randoms())
def test_norm_sums_do_not_depend_on_the_cut(cut, random):
    edges = [0, *cut, 40]
    samples = flat()
    parts = []
    for a, b in itertools.pairwise(edges):
        part = samples[a:b]
        parts.append(moments.NormSums.of_batch((part**2).sum(1), [part.mean(0)]))
    random.shuffle(parts)
    merged = moments.merge(parts)
    assert merged.count == 40
    np.testing.assert_allclose(
        moments.variance(merged, ddof=1), samples.var(axis=0, ddof=1).sum(), rtol=1e-9
    )
    np.testing.assert_allclose(
        moments.average_variance(merged), samples.var(axis=0).mean(), rtol=1e-9
    )


def test_batches_and_samples_agree():
    double = [s.astype("float64") for s in SAMPLES]
    batches = [
        moments.Moments.of_batch(
            20, [s[part].mean(0) for s in double], [(s[part] ** 2).sum(0) for s in double]
        )
        for part in (slice(0, 20), slice(20, 40))
    ]
    merged, whole = moments.merge(batches), moments.Moments.of_samples(SAMPLES)
    for actual, expected in zip(merged.m2, whole.m2, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-7)
    np.testing.assert_allclose(sum(moments.variances(merged)), moments.variance(whole), rtol=1e-9)


@pytest.mark.parametrize("draws", [1, 2, 16])
def test_means_of_several_draws(draws):
    whole = moments.Moments.of_samples(SAMPLES)
    expected = brute_normalized_variance(flat(), draws)
    np.testing.assert_allclose(
        moments.normalized_variance(whole, draws=draws), expected, rtol=1e-12
    )
    np.testing.assert_allclose(moments.snr(whole, draws=draws), 1 / expected - 1, rtol=1e-10)


def test_a_coordinate_that_is_always_zero_counts_as_zero():
    samples = [np.array([[0.0, 2.0], [0.0, -2.0]])]
    assert moments.normalized_variance(moments.Moments.of_samples(samples)) == 0.5


def test_limits():
    same = moments.Moments.of_samples([np.ones((3, 2))])
    assert moments.variance(same) == 0.0
    assert moments.snr(same) == math.inf
    zero_mean = moments.Moments.of_samples([np.array([[1.0], [-1.0]])])
    assert moments.noise_scale(zero_mean) == math.inf
    assert math.isnan(moments.noise_scale(moments.Moments.of_samples([np.zeros((2, 1))])))


def test_nan_stays_nan():
    moments_with_nan = moments.Moments.of_samples([np.array([[np.nan, 0.0], [1.0, 0.0]])])
    assert math.isnan(moments.variance(moments_with_nan))
    assert math.isnan(moments.normalized_variance(moments_with_nan))


def one(count=2):
    return moments.Moments.of_samples([np.arange(float(count))[:, None]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments.Moments.of_samples([np.zeros((0, 2))]), "`samples` must hold"),
        (lambda: moments.Moments.of_samples([np.zeros((2, 1)), np.zeros((3, 1))]), "`samples`"),
        (lambda: moments.Moments.of_batch(0, [[1.0]], [[1.0]]), "`count` must be"),
        (lambda: moments.Moments.of_batch(2, [[1.0]], [1.0]), "`second_moments` must have"),
        (lambda: moments.NormSums.of_batch([], [[1.0]]), "`squared_norms` must have"),
        (lambda: moments.NormSums.of_batch([[1.0]], [[1.0]]), "`squared_norms` must have"),
        (lambda: moments.merge([]), "`parts` must hold at least one"),
        (lambda: moments.merge([one(), moments.NormSums.of_batch([1.0], [[1.0]])]), "all Moments"),
        (
            lambda: moments.merge([one(), moments.Moments.of_samples([np.ones((2, 3))])]),
            "`parts` must have the shapes",
        ),
        (lambda: moments.variance(one(1), ddof=1), "more than ddof=1"),
        (lambda: moments.normalized_variance(one(), draws=0), "`draws` must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_norm_that_is_not_finite_shows_in_the_variance():
    assert math.isnan(moments.variance(moments.NormSums.of_batch([1.0, math.nan], [[1.0]])))
