"""Two ways to hold the inner products of N gradients in memory: sketches, or all of them.

Only differences between gradients matter to a clustering, so the mean gradient is subtracted: what
all examples share would only cost digits.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.clustering.objective import spread


class Vectors:
    """Gradients as vectors: sketches `[N, r]`, or anything with the same distances.

    Args:
        vectors: Float `[N, r]`.
    """

    def __init__(self, vectors: np.ndarray):
        mean = vectors.mean(axis=0, dtype=np.float64)
        self.vectors = np.asarray(vectors - mean, np.float32)
        self.squared_norms = np.square(self.vectors, dtype=np.float64).sum(axis=1)

    def sums(self, assignments: np.ndarray, num_clusters: int) -> np.ndarray:
        """s_k, `[r, K]`."""
        return np.ascontiguousarray((_members(assignments, num_clusters) @ self.vectors).T)

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

    def inner(self, rows: np.ndarray, row: int) -> np.ndarray:
        """<g_i, g_row>, float64 `[n]`."""
        return (self.vectors[rows] @ self.vectors[row]).astype(np.float64)

    def spread(self, members: np.ndarray) -> float:
        """J of these examples as one cluster."""
        return spread(self.vectors[members])


class InnerProducts:
    """All inner products of the gradients, `[N, N]`: their geometry without an approximation.

    The state is who belongs to which cluster, from which <g_i, s_k> is a product of matrices.

    Args:
        products: <g_i, g_j>, float `[N, N]`.
    """

    def __init__(self, products: np.ndarray):
        row_means = products.mean(axis=1, dtype=np.float64)
        centred = products - row_means[:, None] - row_means[None, :] + row_means.mean()
        self._products = centred.astype(np.float32)
        self.squared_norms = np.maximum(np.diag(centred).astype(np.float64), 0.0)

    def sums(self, assignments: np.ndarray, num_clusters: int) -> np.ndarray:
        """Who belongs to which cluster, 0 or 1, `[N, K]`."""
        return np.ascontiguousarray(_members(assignments, num_clusters).T)

    def products(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """<g_i, s_k>, float64 `[n, K]`."""
        return (self._products[rows] @ state).astype(np.float64)

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """<g_i, g_j>, float64 `[n, n]`."""
        return self._products[np.ix_(rows, rows)].astype(np.float64)

    def move(self, state: np.ndarray, row: int, old: int, new: int) -> None:
        """Move one example between the clusters."""
        state[row, old], state[row, new] = 0.0, 1.0

    def inner(self, rows: np.ndarray, row: int) -> np.ndarray:
        """<g_i, g_row>, float64 `[n]`."""
        return self._products[rows, row].astype(np.float64)

    def spread(self, members: np.ndarray) -> float:
        """J of these examples as one cluster."""
        inner = self._products[np.ix_(members, members)].sum(dtype=np.float64)
        return max(len(members) * float(self.squared_norms[members].sum()) - float(inner), 0.0)


def scaled_sketches(sketches: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
    """Sketches `[N, r]` with the true norms: what can be known exactly need not be estimated."""
    own = np.square(sketches, dtype=np.float64).sum(axis=1)
    ratio = np.divide(squared_norms, own, out=np.zeros_like(own), where=own > 0)
    return sketches * np.sqrt(ratio).astype(sketches.dtype)[:, None]


def _members(assignments: np.ndarray, num_clusters: int) -> np.ndarray:
    """1 where example i is in cluster k, float32 `[K, N]`."""
    members = np.zeros((num_clusters, len(assignments)), np.float32)
    members[assignments, np.arange(len(assignments))] = 1.0
    return members
