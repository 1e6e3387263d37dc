"""Expected draws and weights, and systematic sampling over all its orders and offsets."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import stratified_oracle
from tf_gradvar.sampling import Design
from tf_gradvar.sampling.allocation import (
    TICKS,
    allocation_shares,
    check_max_weight,
    expected_ticks,
    resolve_max_weight,
)
from tf_gradvar.sampling.systematic_stream import draws_before, order_stream, systematic_draws

SIZES = np.array([1, 2, 3, 6])


def design_of(sizes, batch_size, shares, max_weight=None):
    sizes = np.asarray(sizes)
    ticks = expected_ticks(sizes, batch_size, np.asarray(shares, float), max_weight)
    return Design(np.repeat(np.arange(len(sizes)), sizes), ticks)


@pytest.mark.parametrize("batch_size", [2, 4, 6, 7])
def test_allocations(batch_size):
    """By the formulas of a textbook, for B below, at and above K."""
    deviations = np.array([3.0, 0.5, 1.0, 2.0])
    expected = {
        "proportional": batch_size * SIZES / 12,
        "equal": np.full(4, batch_size / 4),
        "neyman": batch_size * SIZES * deviations / (3 + 1 + 3 + 12),
    }
    for name, draws in expected.items():
        given = deviations if name == "neyman" else None
        design = design_of(SIZES, batch_size, allocation_shares(name, SIZES, given))
        np.testing.assert_allclose(design.expected_draws, draws, atol=2 / TICKS)
        np.testing.assert_allclose(design.weights, batch_size * SIZES / 12 / draws, rtol=1e-8)
        assert design.ticks.sum() == batch_size * TICKS


@pytest.mark.parametrize("max_weight", [1.0, 1.2, 1.5, 2.0, 2.5, 100.0])
@pytest.mark.parametrize("batch_size", [3, 5, 40])
def test_the_bound_is_kept_and_changes_no_more_than_it_must(batch_size, max_weight):
    rng = np.random.default_rng(batch_size)
    sizes, shares = rng.integers(1, 60, 5) ** 2, rng.uniform(0.1, 1, 5)
    free, bound = (design_of(sizes, batch_size, shares, w) for w in (None, max_weight))
    assert bound.weights.max() <= max_weight * (1 + 1e-6)
    assert bound.ticks.sum() == batch_size * TICKS
    at_bound = bound.weights > max_weight * (1 - 1e-6)
    ratios = bound.expected_draws / free.expected_draws
    np.testing.assert_allclose(ratios[~at_bound], ratios.min(), rtol=1e-6)  # all lose alike
    if free.weights.max() <= max_weight:
        np.testing.assert_array_equal(bound.ticks, free.ticks)
    if max_weight == 1.0:
        np.testing.assert_allclose(bound.weights, 1.0, rtol=1e-6)


def test_one_draw_each_is_left_alone_within_the_bound():
    assert set(design_of([3, 2, 4], 3, np.ones(3), 1.34).ticks) == {TICKS}
    assert set(design_of([3, 2, 4], 3, np.ones(3), 1.3).ticks) != {TICKS}


def test_a_deviation_of_zero_needs_the_bound():
    shares = allocation_shares("neyman", SIZES, [1, 0, 1, 1])
    with pytest.raises(ValueError, match="`standard_deviations` of 0 leave a cluster without"):
        design_of(SIZES, 4, shares)
    assert design_of(SIZES, 4, shares, 2.0).weights[1] == pytest.approx(2.0)


def test_empty_clusters_get_nothing():
    design = design_of([2, 0, 4], 3, allocation_shares("equal", np.array([2, 0, 4])), 1.2)
    assert design.ticks[1] == design.weights[1] == 0
    np.testing.assert_allclose(design.weights @ design.expected_draws, 3)


EXPECTED = [
    [Fraction(1, 2)] * 4,
    [Fraction(3, 4), Fraction(1, 4), Fraction(1)],
    [Fraction(9, 8), Fraction(5, 8), Fraction(1, 8), Fraction(9, 8)],
    [Fraction(1), Fraction(2), Fraction(1)],
]


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda e: "-".join(map(str, e)))
def test_systematic_draws_are_those_of_the_picture(expected):
    """Over all orders and all offsets: the same counts, and exactly e_k in the mean."""
    ticks = [int(e * TICKS) for e in expected]
    for order in itertools.permutations(range(len(expected))):
        ends = np.cumsum([ticks[k] for k in order])
        starts = np.unique([0, *(-ends % TICKS)])
        lengths = np.diff([*starts, TICKS])
        orders = np.tile(np.array(order, np.int32), (len(starts), 1))
        draws = systematic_draws(tf.constant(ticks, tf.int64), orders, starts).numpy()
        draws = draws[:, np.argsort(order)]
        np.testing.assert_array_equal(lengths @ draws, ticks)
        np.testing.assert_array_equal(draws.sum(axis=1), sum(expected))
        pairs = zip(lengths, draws, strict=True)
        found = [(Fraction(int(length), TICKS), tuple(counts)) for length, counts in pairs]
        assert merged(found) == merged(stratified_oracle.systematic(expected, order))


def merged(draws):
    total = {}
    for probability, counts in draws:
        total[counts] = total.get(counts, 0) + probability
    return total


def test_orders_and_offsets_are_uniform():
    stream = order_stream(3, 5, 0).take(6000)
    orders, offsets = (np.array(part) for part in zip(*stream.as_numpy_iterator(), strict=True))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert (np.abs(counts - 1000) < 4.5 * np.sqrt(1000)).all()
    eighths = np.bincount(offsets * 8 // TICKS, minlength=8)
    assert len(eighths) == 8
    assert (np.abs(eighths - 750) < 4.5 * np.sqrt(750)).all()


@pytest.mark.parametrize("stop", [0, 1, 64, 150])
@pytest.mark.parametrize("ticks", [[TICKS // 2, TICKS, 3 * TICKS // 2], [TICKS, 2 * TICKS, 0]])
def test_counts_of_earlier_batches_are_those_of_the_stream(ticks, stop):
    ticks = tf.constant(ticks, tf.int64)
    expected = np.zeros(3, int)
    for order, offset in order_stream(3, 5, 0).take(stop):
        draws = systematic_draws(ticks, order[None], offset[None])[0]
        expected[order.numpy()] += draws.numpy()
    found = draws_before(ticks, 5, tf.constant(stop, tf.int64))
    np.testing.assert_array_equal(found, expected)
    resumed = [o.numpy().tolist() for o, _ in order_stream(3, 5, stop).take(2)]
    assert resumed == [o.numpy().tolist() for o, _ in order_stream(3, 5, 0).skip(stop).take(2)]


BAD = {
    "allocation": (lambda: allocation_shares("optimal", SIZES), "`allocation` must be one of"),
    "unwanted deviations": (
        lambda: allocation_shares("equal", SIZES, [1, 1, 1, 1]),
        "`standard_deviations` belong to `allocation='neyman'`",
    ),
    "no deviations": (
        lambda: allocation_shares("neyman", SIZES),
        "`allocation='neyman'` needs `standard_deviations`",
    ),
    **{
        f"deviations {values}": (
            lambda values=values: allocation_shares("neyman", SIZES, values),
            "`standard_deviations` must be 4 finite numbers >= 0",
        )
        for values in ([1, 1], [1, 1, 1, -1], [1, 1, 1, np.nan], [0, 0, 0, 0])
    },
    **{
        f"max_weight {value}": (
            lambda value=value: check_max_weight(value),
            r"`max_weight` must be a number in \[1, inf\]",
        )
        for value in (0.5, -1, np.nan, "much")
    },
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_sentence(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("sizes", "draws", "expected"),
    [
        ([3, 2, 1], [1, 1, 1], None),
        ([40, 20, 20, 20], [1, 1, 1, 1], None),
        ([80, 5, 5, 5, 5, 0], [1, 1, 1, 1, 1, 0], None),  # 4.0
        ([81, 5, 5, 5, 4], [1, 1, 1, 1, 1], 1.25),  # 4.05
        ([81, 5, 5, 5, 4], [2, 1, 1, 1, 1], None),
        ([3, 2, 1], None, 1.25),
    ],
)
def test_the_bound_that_auto_stands_for(sizes, draws, expected):
    draws = None if draws is None else np.array(draws, float)
    assert resolve_max_weight("auto", np.array(sizes), draws) == expected
    for given in (None, 1.0, 7.0):
        assert resolve_max_weight(given, np.array(sizes), draws) == given
