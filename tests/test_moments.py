"""Additive statistics against float64 NumPy on the whole data."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_gradvar import moments
from tf_gradvar.moments import Layout, Means, Moments, Sums

RNG = np.random.default_rng(0)
# A mean far from zero in float32: E[g^2] - (E g)^2 would lose every digit there.
SAMPLES = [
    (1e3 + RNG.normal(size=(40, 3, 2))).astype("float32"),
    (RNG.normal(size=(40, 5)) * [1, 1e-3, 0, 1e3, 1]).astype("float32"),
]
LAYOUT = Layout.of(["first", "second"], [(3, 2), (5,)])


def layer(index):
    """The samples of one layer, [40, P], in float64."""
    return SAMPLES[index].reshape(40, -1).astype("float64")


def sums_of(samples):
    double = [s.astype("float64") for s in samples]
    norms = np.array([(s**2).sum() for s in double])
    return Sums(len(double[0]), norms, [s.sum(0) for s in double], [(s**2).sum(0) for s in double])


def moments_of(samples, **options):
    found = Moments(**options)
    for gradient in zip(*samples, strict=True):
        found.add(list(gradient))
    return found


def brute_ratio_sum(samples, ddof):
    spread, power = samples.var(axis=0, ddof=ddof), (samples**2).mean(axis=0)
    return sum(s / p if p > 0 else 0.0 for s, p in zip(spread, power, strict=True))


def ratio_sums_of(found):
    return moments.ratio_sums(LAYOUT, moments.variances(found), moments.mean_squares(found))


def test_one_gradient_at_a_time():
    found = moments_of(SAMPLES)
    assert found.count == 40
    expected = [layer(i).var(axis=0, ddof=1).sum() for i in range(2)]
    np.testing.assert_allclose(LAYOUT.totals(moments.variances(found)), expected, rtol=1e-12)
    expected = [brute_ratio_sum(layer(i), 1) for i in range(2)]
    np.testing.assert_allclose(ratio_sums_of(found), expected, rtol=1e-12)
    squared_mean = [(layer(i).mean(axis=0) ** 2).sum() for i in range(2)]
    np.testing.assert_allclose(LAYOUT.squared_norms(found.mean), squared_mean, rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(40)), st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_moments_depend_on_the_weights_and_not_on_the_order(order, weights):
    """A gradient of weight 3 is one that is added three times, and one of weight 0 is none."""
    weights = [3, *weights[1:]]
    weighted, repeated = Moments(), Moments()
    for i in order:
        weighted.add([s[i] for s in SAMPLES], weights[i])
    for i, weight in enumerate(weights):
        for _ in range(weight):
            repeated.add([s[i] for s in SAMPLES])
    assert weighted.count == repeated.count
    for one, other in zip(weighted.mean + weighted.m2, repeated.mean + repeated.m2, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-18)


def test_increments_add_up():
    found, total = Moments(), 0.0
    for gradient in zip(*SAMPLES, strict=True):
        total = total + LAYOUT.totals(found.add(list(gradient)))
    np.testing.assert_allclose(total, LAYOUT.totals(found.m2), rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 39), max_size=6, unique=True).map(sorted), st.randoms())
def test_sums_do_not_depend_on_the_cut(cut, random):
    parts = [sums_of([s[a:b] for s in SAMPLES]) for a, b in itertools.pairwise([0, *cut, 40])]
    random.shuffle(parts)
    total = Sums()
    for part in parts:
        total.add(part)
    means = Means.of(total)
    assert means.count == 40
    expected = [layer(i).var(axis=0).sum() for i in range(2)]
    np.testing.assert_allclose(means.variance(LAYOUT), expected, rtol=1e-8)
    coordinates = means.add_variances(means.add_variances([], 2.0), 1.0)
    for i, found in enumerate(coordinates):
        np.testing.assert_allclose(found.ravel(), 3 * layer(i).var(axis=0), rtol=1e-7, atol=1e-12)


def test_weighted_means_of_parts_are_the_mean():
    total = Sums()
    for part in (slice(0, 10), slice(10, 40)):
        sums = sums_of([s[part] for s in SAMPLES])
        total.add(Means.of(sums).weighted(sums.count / 40))
    assert total.count == 1
    for i in range(2):
        np.testing.assert_allclose(total.gradients[i].ravel(), layer(i).mean(0), rtol=1e-12)
        np.testing.assert_allclose(total.squares[i].ravel(), (layer(i) ** 2).mean(0), rtol=1e-12)
        np.testing.assert_allclose(total.squared_norms[i], (layer(i) ** 2).sum() / 40, rtol=1e-12)


def test_sums_and_moments_agree():
    means, found = Means.of(sums_of(SAMPLES)), moments_of(SAMPLES)
    for one, other in zip(means.mean, found.mean, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(
        means.variance(LAYOUT), LAYOUT.totals(found.m2) / found.count, rtol=1e-8
    )


def test_what_is_not_wanted_is_not_kept():
    assert moments_of(SAMPLES, m2=None).m2 is None
    sums = Sums(1, np.array([4.0]), [np.array([2.0])])
    sums.add(Sums(1, np.array([0.0]), [np.array([0.0])]))
    assert sums.squares == []
    assert Means.of(sums).weighted(0.5).squares == []


def test_adding_changes_only_the_total():
    part = sums_of(SAMPLES)
    before = part.gradients[0].copy()
    total = Sums()
    for _ in range(2):
        total.add(part)
    np.testing.assert_array_equal(part.gradients[0], before)
    gradient = [np.array([1.0])]
    found = Moments()
    for _ in range(2):
        found.add(gradient)
    assert gradient[0] == [1.0]


def test_a_coordinate_that_is_always_zero_counts_as_zero():
    found = moments_of([np.array([[0.0, 2.0], [0.0, -2.0]])])
    layout = Layout(("layer",), (0,), (2,))
    ratios = moments.ratio_sums(layout, found.m2, [2 * p for p in moments.mean_squares(found)])
    assert ratios == [1.0]


def test_layers_of_a_layout():
    layout = Layout.of(["a", "b", "a"], [(2, 3), (4,), ()])
    assert layout == Layout(("a", "b"), (0, 1, 0), (6, 4, 1))
    assert layout.layer_sizes.tolist() == [7, 4]
    arrays = [np.full((2, 3), 2.0), np.arange(4.0), np.array(5.0)]
    assert layout.totals(arrays).tolist() == [17, 6]
    assert layout.squared_norms(arrays).tolist() == [49, 14]


def test_limits():
    same = moments_of([np.ones((3, 2))])
    assert same.m2[0].tolist() == [0, 0]
    assert moments.noise_scale(2.0, 0.0) == math.inf
    assert math.isnan(moments.noise_scale(0.0, 0.0))
    assert moments.noise_scale(2.0, 4.0) == 0.5


def test_nan_stays_nan():
    found = moments_of([np.array([[np.nan, 0.0], [1.0, 0.0]])])
    assert np.isnan(found.m2[0]).tolist() == [True, False]
    layout = Layout(("layer",), (0,), (2,))
    ratios = moments.ratio_sums(layout, moments.variances(found), moments.mean_squares(found))
    assert np.isnan(ratios).tolist() == [True]
    assert np.isnan(Means.of(Sums(1, np.array([np.nan]), [np.zeros(2)])).variance(layout)) == [True]


def test_parts_of_other_shapes_are_refused():
    total = sums_of(SAMPLES)
    with pytest.raises(ValueError, match="shorter"):
        total.add(Sums(1, np.zeros(2), [np.zeros((3, 2))]))
