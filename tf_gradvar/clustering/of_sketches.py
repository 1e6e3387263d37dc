"""Clusters of gradients that were sketched already: no pass over the data."""

from __future__ import annotations

import numpy as np

from tf_gradvar.clustering.geometry import Vectors, scaled_sketches
from tf_gradvar.clustering.refinement import MovingMeans
from tf_gradvar.clustering.refusals import check_enough
from tf_gradvar.clustering.search import search, start_assignments


def cluster_sketches(
    sketches: np.ndarray,
    squared_norms: np.ndarray,
    num_clusters: int,
    *,
    seed: int = 0,
    max_passes: int = 10,
    tolerance: float = 1e-3,
) -> np.ndarray:
    """Return the clusters that `GradientClustering` finds, by exact moves, in given sketches.

    Args:
        sketches: Of the gradients, float `[N, r]`; they are copied.
        squared_norms: ||g_i||^2, float `[N]`, to which the sketches are scaled.
        num_clusters: K, at most N.
        seed: Of the order of the passes. Defaults to 0.
        max_passes: The most passes. Defaults to 10.
        tolerance: As for `GradientClustering`. Defaults to 1e-3.

    Returns:
        The cluster of each example, int64 `[N]`; no cluster is empty.

    Raises:
        ValueError: More clusters than examples.

    Example:
        >>> import numpy as np
        >>> vectors = np.float32([[1, 0], [0, 5], [1, 0.1], [0, 5.1]])
        >>> found = cluster_sketches(vectors, np.square(vectors).sum(axis=1), 2)
        >>> bool(found[0] == found[2] != found[1] == found[3])
        True

    Source: Faghri et al. 2020, section 3.1, Eq. 2 (the objective); the exact moves are ours.

    Cost: N r K operations a pass, and a copy of the sketches.
    """
    check_enough(num_clusters, len(sketches))
    rng = np.random.default_rng(seed)
    vectors = Vectors(scaled_sketches(np.array(sketches), squared_norms))
    refinement = MovingMeans(vectors, num_clusters, None)
    start = start_assignments(refinement, None, rng, by_norm=True)
    best, _, _ = search(
        refinement, start, rng, max_passes=max_passes, tolerance=tolerance, verbose=False
    )
    return best
