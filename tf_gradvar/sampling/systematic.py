"""Systematic sampling over the clusters in random order: whole draws with given expectations.

Clusters lie in random order on a line, cluster k with the length e_k and its end at c_k. The line
is shifted by a uniform offset u in [0, 1), and each cluster gets as many draws as its stretch
holds whole numbers:

    n_k = floor(c_k + u) - floor(c_{k-1} + u)

So n_k is e_k rounded down or up, E[n_k] = e_k, and the total is always B. (`systematic_stream`
counts the same in ticks, in the graph of tf.data.) With f_k the fraction of e_k,

    Var[n_k] = f_k (1 - f_k) = h_k.

The covariances have no closed form. Those of the conditional Poisson design with the same h_k,

    Cov[n_k, n_l] = -c_k c_l / C    (k != l),     C = sum_k c_k,     c_k - c_k^2 / C = h_k,

are exact where the fractions are equal or only two differ from 0, and near otherwise; they make the
variance of `sum_k n_k z_k` a distance of the z_k from their mean, `sum_k c_k ||z_k - zbar||^2`.
Source: Madow 1949; Deville and Tille 2005, "Variance approximation under balanced sampling".
"""

from __future__ import annotations

import numpy as np

# A fraction below this is rounding: the draws of the cluster are fixed.
_NO_FRACTION = 1e-6


def systematic_counts(expected_draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one draw of the n_k, `[K]` int64.

    Args:
        expected_draws: e_k, `[K]`, with a whole sum.
        rng: For the order and the offset.
    """
    order = rng.permutation(len(expected_draws))
    return counts_on_line(expected_draws, order, rng.random())


def counts_on_line(expected_draws: np.ndarray, order: np.ndarray, offset: float) -> np.ndarray:
    """Return the n_k for the clusters in this order on the line, `[K]` int64.

    Args:
        expected_draws: e_k, `[K]`, with a whole sum.
        order: The numbers of the clusters, `[K]`.
        offset: u, in [0, 1).

    Example:
        >>> counts_on_line(np.array([0.5, 0.7, 1.8]), np.array([2, 0, 1]), 0.4)
        array([0, 1, 2])
    """
    ends = np.cumsum(expected_draws[order])
    ends[-1] = np.rint(ends[-1])
    counts = np.empty(len(order), np.int64)
    counts[order] = np.diff(np.floor(ends + offset), prepend=0.0)
    return counts


def count_variances(expected_draws: np.ndarray) -> np.ndarray:
    """Return h_k, `[K]`; 0 where n_k is fixed."""
    fractions = expected_draws - np.floor(expected_draws)
    fixed = (fractions < _NO_FRACTION) | (fractions > 1 - _NO_FRACTION)
    return np.where(fixed, 0.0, fractions * (1 - fractions))


def spread_weights(expected_draws: np.ndarray) -> np.ndarray:
    """Return c_k, `[K]`: the solution of `c_k - c_k^2 / C = h_k`; 0 where n_k is fixed.

    Example:
        >>> import numpy as np
        >>> spread_weights(np.array([0.5, 0.5, 0.5, 0.5, 1.0]))  # 0.25 * 4 / 3
        array([0.33333333, 0.33333333, 0.33333333, 0.33333333, 0.        ])
    """
    variances = count_variances(expected_draws)
    weights = variances.copy()
    if not variances.any():
        return weights
    for _ in range(10_000):
        previous = weights
        weights = variances + np.square(previous) / previous.sum()
        if np.allclose(weights, previous, rtol=1e-12, atol=0.0):
            break
    return weights
