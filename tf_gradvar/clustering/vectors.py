"""Two ways to hold the inner products of N gradients in memory: sketches, or all of them."""

from __future__ import annotations

import numpy as np


class Vectors:
    """Gradients as vectors: their sketches, `[N, r]`.

    Only differences between gradients matter to a clustering, so the mean is subtracted: what
    all examples share would only cost digits.

    Args:
        vectors: Float `[N, r]`.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = np.asarray(vectors - vectors.mean(axis=0, dtype=np.float64), np.float32)
        self.squared_norms = np.einsum(
            "nr,nr->n", self.vectors, self.vectors, dtype=np.float64, casting="unsafe"
        )

    def sums(self, assignments: np.ndarray, num_clusters: int) -> np.ndarray:
        """s_k, `[r, K]`."""
        members = np.zeros((num_clusters, len(assignments)), np.float32)
        members[assignments, np.arange(len(assignments))] = 1.0
        return np.ascontiguousarray((members @ self.vectors).T)

    def products(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """<g_i, s_k>, float64 `[n, K]`."""
        return (self.vectors[rows] @ state).astype(np.float64)

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """<g_i, g_j>, float64 `[n, n]`."""
        chunk = self.vectors[rows]
        return (chunk @ chunk.T).astype(np.float64)

    def move(self, state: np.ndarray, row: int, old: int, new: int) -> None:
        """Move one example between the sums."""
        state[:, old] -= self.vectors[row]
        state[:, new] += self.vectors[row]
