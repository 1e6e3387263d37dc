"""The rule of systematic sampling in NumPy and in the graph of tf.data: one rule, two forms."""

import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar.sampling.allocation import TICKS
from tf_gradvar.sampling.systematic import counts_on_line, systematic_counts
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
