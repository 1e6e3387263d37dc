"""Sums over the members of each cluster in sketch space, by which new examples are assigned.

A new example costs cluster k what it adds to the objective there (see `exact_moves`),

    cost_k(i) = S_k + N_k ||g_i||^2 - 2 <s_k, g_i>.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import members_of, sizes_of, totals_of
from tf_gradvar.clustering.geometry import CHUNK, Vectors


class ClusterSums:
    """N_k, S_k and s_k of K clusters.

    Args:
        sizes: N_k, float64 `[K]`.
        squares: S_k, float64 `[K]`.
        sums: s_k, float64 `[K, r]`.
        origin: What is subtracted from every sketch, float64 `[r]`.
    """

    def __init__(
        self, sizes: np.ndarray, squares: np.ndarray, sums: np.ndarray, origin: np.ndarray
    ):
        self.sizes, self.squares, self.sums, self.origin = sizes, squares, sums, origin

    @classmethod
    def of(cls, gradients: Vectors, assignments: np.ndarray, num_clusters: int) -> ClusterSums:
        """Return the sums of given clusters.

        Args:
            gradients: Sketches `[N, r]` around their mean.
            assignments: Integers `[N]`.
            num_clusters: K.
        """
        members = members_of(assignments, len(assignments), num_clusters)
        sums = np.array([gradients.vectors[rows].sum(0, dtype=np.float64) for rows in members])
        squares = totals_of(assignments, gradients.squared_norms, num_clusters)
        sizes = sizes_of(assignments, num_clusters).astype(np.float64)
        return cls(sizes, squares, sums, gradients.mean)

    def assign(self, sketches: np.ndarray) -> np.ndarray:
        """Return the cheapest cluster for each of some new examples, none of which is added.

        Args:
            sketches: `[n, r]`.

        Returns:
            Clusters, int64 `[n]`.
        """
        clusters = np.empty(len(sketches), np.int64)
        for start in range(0, len(sketches), CHUNK):
            rows = slice(start, start + CHUNK)
            vectors = sketches[rows] - self.origin
            norms = np.square(vectors).sum(axis=1)
            costs = self.squares + np.outer(norms, self.sizes) - 2.0 * vectors @ self.sums.T
            clusters[rows] = costs.argmin(axis=1)
        return clusters

    def add(self, cluster: int, vector: np.ndarray, norm: float, times: float = 1.0) -> None:
        """Add an example to a cluster, or take it away with `times=-1`.

        Args:
            cluster: k.
            vector: Its sketch minus the origin, `[r]`.
            norm: The squared norm of that.
            times: How often it is added.
        """
        self.sizes[cluster] += times
        self.squares[cluster] += times * norm
        self.sums[cluster] += times * vector
