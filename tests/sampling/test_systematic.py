"""The rule of systematic sampling in NumPy and in the graph of tf.data: one rule, two forms."""

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.sampling.allocation import TICKS
from tf_gradvar.sampling.systematic import (
    count_variances,
    counts_on_line,
    spread_weights,
    systematic_counts,
)
from tf_gradvar.sampling.systematic_stream import order_stream, systematic_draws


def ticks_of(num_clusters, total, seed):
    """Random expectations in ticks, some of them whole, that sum to `total`."""
    rng = np.random.default_rng(seed)
    ticks = (rng.dirichlet(np.ones(num_clusters)) * total * TICKS).astype(np.int64)
    ticks[0] -= ticks[0] % TICKS
    ticks[-1] += total * TICKS - ticks.sum()
    return ticks


@pytest.mark.parametrize(("num_clusters", "total"), [(1, 3), (2, 1), (7, 3), (7, 7), (40, 64)])
def test_both_forms_agree(num_clusters, total):
    ticks = ticks_of(num_clusters, total, num_clusters)
    for order, offset in order_stream(num_clusters, 3, 0).take(200).as_numpy_iterator():
        in_graph = systematic_draws(tf.constant(ticks), order[None], offset[None])[0].numpy()
        in_numpy = counts_on_line(ticks / TICKS, order, offset / TICKS)
        np.testing.assert_array_equal(in_numpy[order], in_graph)
        assert in_numpy.sum() == total


def test_a_total_that_rounding_misses_is_kept():
    expected, order = np.full(10, 0.1), np.arange(10)
    assert np.cumsum(expected)[-1] < 1
    assert counts_on_line(expected, order, 0.0).tolist() == [0] * 9 + [1]
    rng = np.random.default_rng(0)
    assert {int(systematic_counts(expected, rng).sum()) for _ in range(300)} == {1}


def test_counts_have_their_means_and_variances():
    expected = np.array([0.7, 1.7, 0.6])
    rng = np.random.default_rng(0)
    counts = np.array([systematic_counts(expected, rng) for _ in range(4000)])
    assert set(counts.sum(axis=1)) == {3}
    assert (np.abs(counts.mean(axis=0) - expected) < 4.5 * 0.5 / np.sqrt(4000)).all()
    np.testing.assert_allclose(count_variances(expected), [0.21, 0.21, 0.24])
    np.testing.assert_allclose(counts.var(axis=0), [0.21, 0.21, 0.24], rtol=0.1)


def test_spread_weights_solve_their_equation():
    rng = np.random.default_rng(0)
    expected = rng.uniform(0, 3, 40)
    expected[:3] = [1, 2, 3]
    weights = spread_weights(expected)
    np.testing.assert_allclose(
        weights - weights**2 / weights.sum(), count_variances(expected), rtol=1e-9, atol=1e-12
    )
    assert (weights[:3] == 0).all()
    np.testing.assert_allclose(spread_weights(np.array([0.3, 0.7])), [0.42, 0.42], rtol=1e-5)
