"""Numbers of draws that are random with given expectations: systematic sampling over clusters.

Clusters lie in random order on a line, cluster k with the length e_k, marks are 1 apart from a
uniform start, and n_k is the number of marks on cluster k: e_k rounded down or up, B in all. With
f_k the fraction of e_k,

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
    """One draw of the n_k, `[K]` int.

    Args:
        expected_draws: e_k, `[K]`, with a whole sum.
        rng: For the order and the start.
    """
    order = rng.permutation(len(expected_draws))
    ends = np.cumsum(expected_draws[order])
    ends[-1] = np.rint(ends[-1])
    counts = np.empty(len(order), np.int64)
    counts[order] = np.diff(np.floor(ends + rng.random()), prepend=0.0)
    return counts


def count_variances(expected_draws: np.ndarray) -> np.ndarray:
    """h_k, `[K]`; 0 where n_k is fixed."""
    fractions = expected_draws - np.floor(expected_draws)
    fixed = (fractions < _NO_FRACTION) | (fractions > 1 - _NO_FRACTION)
    return np.where(fixed, 0.0, fractions * (1 - fractions))


def spread_weights(expected_draws: np.ndarray) -> np.ndarray:
    """c_k, `[K]`: solves `c_k - c_k^2 / C = h_k`; 0 where n_k is fixed.

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
