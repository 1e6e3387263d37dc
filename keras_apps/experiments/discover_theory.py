r"""Prediction of the excess risk of Discover, for any gain, on least squares with clusters.

In one coordinate with curvature h, cluster k has the gradient r_k = h (delta - d_k), where delta is
the deviation from the optimum of all the examples and d_k that of the cluster's optimum. A step
draws C groups from K clusters with equal probabilities, n_k of cluster k; the gradient of a group
has noise xi of variance s. With x_k = r_k - g^k and present_k = 1 where n_k > 0,

    delta' = delta - lr [gbar + c (sum_k (n_k / C) x_k + the mean of all xi)]
    g^k'   = g^k + alpha present_k (x_k + the mean of the xi of cluster k)

is linear in the state z = (delta, g^1, ..., g^K, 1) given the draw. With its mean z' = A z, the
second moments M = E[z z'] and X = E[x x'] follow

    M_{t+1} = A M A' + what the draw adds:
    (delta, delta)   lr^2 c^2 (sum_kl Cov(n_k, n_l) X_kl / C^2 + s / C)
    (delta, g^l)     -lr c alpha (sum_k Cov(n_k, present_l) X_kl / C + P(present_l) s / C)
    (g^k, g^l)       alpha^2 (Cov(present_k, present_l) X_kl + [k = l] E[1 / n_k; present_k] s)

and the expected excess risk is 1/2 sum_j h_j E[delta_j^2].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Draws(NamedTuple):
    """Moments of the numbers n_k of groups: C draws of K clusters with equal probabilities.

    Attributes:
        groups: C.
        present: P(n_k > 0).
        inverse: E[1 / n_k; n_k > 0].
        counts: Cov(n_k, n_l), [K, K].
        mixed: Cov(n_k, present_l), [K, K].
        presence: Cov(present_k, present_l), [K, K].
    """

    groups: int
    present: float
    inverse: float
    counts: np.ndarray
    mixed: np.ndarray
    presence: np.ndarray

    @classmethod
    def of(cls, groups: int, clusters: int) -> Draws:
        """Return the moments for C groups and K > 1 clusters."""
        q, mean = 1 / clusters, groups / clusters
        absent, both_absent = (1 - q) ** groups, (1 - 2 * q) ** groups
        inverse = sum(
            math.comb(groups, n) * q**n * (1 - q) ** (groups - n) / n for n in range(1, groups + 1)
        )
        # E[n_k; n_l = 0] is the mean number of draws of k when only the other clusters are drawn.
        with_other = -absent * (groups / (clusters - 1) - mean)
        both = both_absent - absent**2

        def matrix(same: float, other: float) -> np.ndarray:
            return np.full((clusters, clusters), other) + (same - other) * np.eye(clusters)

        return cls(
            groups,
            1 - absent,
            inverse,
            counts=matrix(mean * (1 - q), -mean * q),
            mixed=matrix(mean * absent, with_other),
            presence=matrix(absent * (1 - absent), both),
        )


def predicted_discover_risk(
    learning_rate: float,
    alpha: float,
    gain: float,
    steps: int,
    curvatures: np.ndarray,
    optima: np.ndarray,
    noise: np.ndarray,
    groups: int,
) -> np.ndarray:
    """Return the expected excess risk over the steps of Discover, from theta = 0 and buffers of 0.

    Args:
        learning_rate: Constant.
        alpha: The step of the buffers.
        gain: Of the correction, c.
        steps: T.
        curvatures: h [d].
        optima: Of the clusters, [K, d].
        noise: Variance of a group's gradient from within its cluster, s [d].
        groups: C.

    Returns:
        Risks [T + 1], at the start and after each step.
    """
    clusters, features = optima.shape
    draws, optimum = Draws.of(groups, clusters), optima.mean(axis=0)
    # Linear functions of z: delta and 1, [K + 2]; g^k, [K, K + 2]; x_k, [d, K, K + 2].
    delta, buffers, one = np.split(np.eye(clusters + 2), [1, clusters + 1])
    deviations = delta - (optima - optimum).T[..., None] * one
    errors = curvatures[:, None, None] * deviations - buffers
    new_delta = delta - learning_rate * (buffers.mean(axis=0) + gain * errors.mean(axis=1))
    new_buffers = buffers + alpha * draws.present * errors
    mean = np.concatenate([new_delta[:, None], new_buffers, np.tile(one, (features, 1, 1))], axis=1)

    state = np.zeros((features, clusters + 2))
    state[:, 0], state[:, -1] = -optimum, 1.0
    moments = state[:, :, None] * state[:, None, :]
    risks = [0.5 * curvatures @ moments[:, 0, 0]]
    for _ in range(steps):
        x = errors @ moments @ errors.transpose(0, 2, 1)
        moments = mean @ moments @ mean.transpose(0, 2, 1)
        _add_spread(moments, x, draws, learning_rate * gain, alpha, noise)
        risks.append(0.5 * curvatures @ moments[:, 0, 0])
    return np.array(risks)


def _add_spread(
    moments: np.ndarray,
    x: np.ndarray,
    draws: Draws,
    step: float,
    alpha: float,
    noise: np.ndarray,
) -> None:
    """Add what the draw adds, by the formulas above, to M [d, K + 2, K + 2].

    Args:
        moments: M, changed in place.
        x: X, [d, K, K].
        draws: Of the clusters.
        step: lr c.
        alpha: The step of the buffers.
        noise: s, [d].
    """
    groups = draws.groups
    of_counts = (draws.counts * x).sum(axis=(1, 2)) / groups**2
    moments[:, 0, 0] += step**2 * (of_counts + noise / groups)
    mixed = (draws.mixed * x).sum(axis=1) + draws.present * noise[:, None]
    moments[:, 0, 1:-1] -= step * alpha / groups * mixed
    moments[:, 1:-1, 0] = moments[:, 0, 1:-1]
    alone = draws.inverse * noise[:, None, None] * np.eye(x.shape[1])
    moments[:, 1:-1, 1:-1] += alpha**2 * (draws.presence * x + alone)
