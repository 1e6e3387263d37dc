"""Sums over the members of each cluster in sketch space: for new examples and for streams.

A new example costs cluster k what it adds to the objective there (see `exact_moves`),

    cost_k(i) = S_k + N_k ||g_i||^2 - 2 <s_k, g_i>.

On a stream the sums are exponential averages: before a batch is added, all of N_k, S_k and s_k
are multiplied by 1 - rate, so that old examples, whose gradients have changed, count less.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import members_of, sizes_of, totals_of
from tf_gradvar.clustering.objective import CHUNK
from tf_gradvar.clustering.vectors import Vectors

# A cluster that fades below this share of one example has lost its place to a new one.
_LEAST_SIZE = 0.1


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
        """The sums of given clusters.

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
        """The cheapest cluster for each of some new examples, none of which is added.

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

    def update(self, sketches: np.ndarray, rate: float) -> np.ndarray:
        """Let old examples fade and add a batch, one example after the other.

        A cluster that has faded away is given the example that costs most where it is.

        Args:
            sketches: `[n, r]`.
            rate: Share of the old sums that is forgotten.

        Returns:
            Clusters of the batch, int64 `[n]`.
        """
        vectors = sketches - self.origin
        norms = np.square(vectors).sum(axis=1)
        for values in (self.sizes, self.squares, self.sums):
            values *= 1.0 - rate
        clusters = np.empty(len(vectors), np.int64)
        paid = np.empty(len(vectors))
        for i, (vector, norm) in enumerate(zip(vectors, norms, strict=True)):
            costs = self.squares + self.sizes * norm - 2.0 * self.sums @ vector
            clusters[i] = k = int(costs.argmin())
            paid[i] = costs[k]
            self._add(k, vector, norm, 1.0)
        for faded in np.flatnonzero(self.sizes < _LEAST_SIZE):
            i = int(paid.argmax())
            if paid[i] <= 0:
                break
            self._add(int(clusters[i]), vectors[i], norms[i], -1.0)
            self._add(int(faded), vectors[i], norms[i], 1.0)
            clusters[i], paid[i] = faded, 0.0
        return clusters

    def _add(self, cluster: int, vector: np.ndarray, norm: float, times: float) -> None:
        self.sizes[cluster] += times
        self.squares[cluster] += times * norm
        self.sums[cluster] += times * vector
