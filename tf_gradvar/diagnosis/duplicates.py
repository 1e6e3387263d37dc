"""Near-duplicates: examples whose gradients nearly agree.

Examples i and j are joined where the relative distance of their gradients is at most `tolerance`,

    ||g_i - g_j|| <= tolerance * max(||g_i||, ||g_j||),

and groups are the connected components. A sketch is linear, so that ||s_i - s_j||^2 estimates
||g_i - g_j||^2 with an error that is a fraction of it: a distance near zero is found as one.

Examples of one class that the model is sure of have gradients near zero, which rounding makes
alike. Gradients with a norm below `FLOOR` times the largest one are never joined.

Measured on three sets of images at three moments (`benchmarks/planted_truth.py`): 99.8 % or more of
the examples in groups are copies, so that nothing is verified with a second sketch; exact copies
are found (in networks that fit all labels 85 to 100 % of them), copies with noise of 5 % of a
pixel's deviation in 0 to 91 %. Where inputs have a distance, it finds all of both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Relative distance of gradients that are called near-duplicates.
TOLERANCE = 0.1
# Smallest norm, as a part of the largest one: float32 rounds a probability near 1 to about this.
FLOOR = 1e-7

_ROWS = 1024


def near_duplicates(
    squared_norms: np.ndarray,
    sketches: np.ndarray,
    *,
    tolerance: float = TOLERANCE,
    floor: float = FLOOR,
) -> np.ndarray:
    """Return the group of near-duplicates of each example.

    Args:
        squared_norms: ||g_i||^2, float64 `[N]`.
        sketches: Of the gradients, float32 `[N, S]`.
        tolerance: The largest relative distance, below 1. Defaults to 0.1.
        floor: The smallest norm, as a part of the largest one. Defaults to 1e-7.

    Returns:
        Groups numbered from 0 in the order of their first examples, -1 for examples without a
        duplicate, int64 `[N]`.

    Example:
        >>> g = np.float32([[1, 2], [3, 1], [1, 2.01]])
        >>> near_duplicates(np.square(g).sum(axis=1), g)
        array([ 0, -1,  0])

    Cost: examples are compared with those whose norms agree within the tolerance, a block of
    1 024 at a time: `N N' S` operations, where N' is their number, and no `N^2` numbers.
    """
    norms = np.sqrt(squared_norms)
    order = np.argsort(norms, kind="stable")
    order = order[norms[order] > floor * norms.max(initial=0.0)]
    ordered = norms[order]
    joined = np.arange(len(order))
    for first, second in _close_pairs(ordered, sketches[order], tolerance):
        joined = _join(joined, first, second)
    groups = np.full(len(norms), -1, np.int64)
    _, group, sizes = np.unique(joined, return_inverse=True, return_counts=True)
    groups[order] = np.where(sizes[group] > 1, group, -1)
    return _numbered_by_first(groups)


def _close_pairs(
    norms: np.ndarray, sketches: np.ndarray, tolerance: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of places whose gradients are close, from gradients in the order of norms."""
    squares = np.square(sketches, dtype=np.float64).sum(axis=1)
    for start in range(0, len(norms), _ROWS):
        rows = slice(start, min(start + _ROWS, len(norms)))
        # | ||g_i|| - ||g_j|| | <= ||g_i - g_j||: nothing beyond can be close.
        end = int(np.searchsorted(norms, norms[rows.stop - 1] / (1.0 - tolerance), side="right"))
        for begin in range(start, end, _ROWS):
            columns = slice(begin, min(begin + _ROWS, end))
            products = (sketches[rows] @ sketches[columns].T).astype(np.float64)
            distances = squares[rows, None] + squares[columns] - 2.0 * products
            close = distances <= (tolerance * norms[columns]) ** 2
            close &= norms[columns] * (1.0 - tolerance) <= norms[rows, None]
            first, second = np.nonzero(close)
            first, second = first + rows.start, second + columns.start
            yield first[first < second], second[first < second]


def _join(joined: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the smallest place in the component of each place, after more pairs are joined."""
    joined = joined.copy()
    while True:
        a, b = joined[first], joined[second]
        if np.array_equal(a, b):
            return joined
        least = np.minimum(a, b)
        np.minimum.at(joined, a, least)
        np.minimum.at(joined, b, least)
        while not np.array_equal(joined, joined[joined]):
            joined = joined[joined]


def _numbered_by_first(groups: np.ndarray) -> np.ndarray:
    """Return groups numbered in the order of their first examples; -1 stays."""
    inside = groups[groups >= 0]
    present, first, codes = np.unique(inside, return_index=True, return_inverse=True)
    rank = np.empty(len(present), np.int64)
    rank[np.argsort(first)] = np.arange(len(present))
    numbered = groups.copy()
    numbered[groups >= 0] = rank[codes.reshape(len(inside))]
    return numbered
