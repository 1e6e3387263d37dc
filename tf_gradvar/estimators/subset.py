"""Random subsets of the examples, and standard errors of measurements on them.

The standard error is that of the delta method: an estimate of a variance is a smooth function of
the strata's means of ||g_i||^2 and g_i, and linear in example i up to smaller terms. With psi_i
that linear part,

    SE^2 = sum_k (1 - n_k/N_k) var_k(psi) / n_k
    psi_i = c_k (||g_i||^2 - 2 <g_i, m_k>)                 estimators with clusters
    psi_i = c w_k (||g_i||^2 - 2 <g_i, m>)                 without

where the inner products, the smaller part, are taken between sketches of 128 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradvar.assignments import members_of

SKETCH_SIZE = 128


@dataclass
class Seen:
    """The examples of one finished stratum, for standard errors.

    Attributes:
        stratum: k.
        size: N_k.
        norms: ||g_i||^2, `[n_k]`.
        sketches: `[n_k, r]`; None where all examples are seen.
    """

    stratum: int
    size: int
    norms: np.ndarray
    sketches: np.ndarray | None


def choose_subset(
    assignments: np.ndarray | None, count: int, subset_size: int, rng: np.random.Generator
) -> list[np.ndarray] | None:
    """Return distinct random examples, at least 2 of each cluster, shared out by their sizes.

    Returns:
        For each cluster the numbers of its chosen examples; None where that is all of them.

    Raises:
        ValueError: A subset that cannot hold 2 examples of each cluster.
    """
    members = members_of(assignments, count)
    if subset_size >= count:
        return None
    sizes = np.array([len(indices) for indices in members])
    least = np.minimum(sizes, 2)
    if subset_size < least.sum():
        raise ValueError(
            f"`subset_size` must be at least {least.sum()}, two examples for each of the "
            f"{len(sizes)} clusters. Received: subset_size={subset_size}."
        )
    return [
        np.sort(rng.choice(indices, share, replace=False))
        for indices, share in zip(members, _shares(sizes, least, subset_size), strict=True)
    ]


def _shares(sizes: np.ndarray, least: np.ndarray, total: int) -> np.ndarray:
    """Return whole numbers from `least` to `sizes`, nearly proportional, that sum to `total`."""
    shares = np.maximum(least, total * sizes // sizes.sum())
    while shares.sum() != total:
        wanting = total * sizes / sizes.sum() - shares
        if shares.sum() < total:
            shares[np.argmax(np.where(shares < sizes, wanting, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > least, wanting, np.inf))] -= 1
    return shares


def standard_error(seen: Sequence[Seen], coefficients: np.ndarray, *, clustered: bool) -> float:
    """Return the standard error of the variance, by the formula at the top of this file.

    Args:
        seen: The examples of every stratum.
        coefficients: c_k, `[K]`, or c, `[1]`.
        clustered: Whether the estimator draws within the strata.

    Returns:
        The standard error; 0 where all examples are seen.
    """
    total = sum(part.size for part in seen)
    sketched = [(part, part.sketches) for part in seen if part.sketches is not None]
    if len(sketched) < len(seen):
        return 0.0  # the subset is everything
    overall = sum(part.size / total * sketches.mean(axis=0) for part, sketches in sketched)
    squared = 0.0
    for part, sketches in sketched:
        centre, weight = overall, coefficients[0] * part.size / total
        if clustered:
            centre, weight = sketches.mean(axis=0), coefficients[part.stratum]
        linear = weight * (part.norms - 2.0 * sketches @ centre)
        count = len(linear)
        if count > 1:
            squared += (1.0 - count / part.size) * linear.var(ddof=1) / count
    return float(np.sqrt(squared))
