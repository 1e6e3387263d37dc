"""Histograms of per-example gradient norms on one grid, so that they can be stacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS_PER_DECADE = 8


def norm_histogram(norms: Sequence[np.ndarray], sizes: Sequence[int]) -> dict[str, list[float]]:
    """Return the estimated numbers of examples by the logarithm of their gradient's norm.

    Args:
        norms: ||g_i|| of the examples seen, one array for each stratum.
        sizes: How many examples each stratum has; those seen stand for all of them.

    Returns:
        `"log10_norm"`: lower edges of the bins, eighths of a decade, without gaps;
        `"examples"`: how many examples each bin holds; `"zeros"`: [how many norms are 0].
        Norms that are not finite are left out.

    Example:
        >>> import numpy as np
        >>> norm_histogram([np.array([1.0, 1.1, 10.0, 0.0])], [8])["zeros"]
        [2.0]
    """
    bins: dict[int, float] = {}
    zeros = 0.0
    for values, size in zip(norms, sizes, strict=True):
        weight = size / len(values)
        zeros += weight * float((values == 0).sum())
        kept = values[np.isfinite(values) & (values > 0)]
        places = np.floor(np.log10(kept) * BINS_PER_DECADE).astype(int)
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            bins[int(place)] = bins.get(int(place), 0.0) + weight * float(count)
    grid = range(min(bins), max(bins) + 1) if bins else range(0)
    return {
        "log10_norm": [place / BINS_PER_DECADE for place in grid],
        "examples": [bins.get(place, 0.0) for place in grid],
        "zeros": [zeros],
    }
