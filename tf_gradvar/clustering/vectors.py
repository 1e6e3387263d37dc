"""Two ways to hold the inner products of N gradients in memory: sketches, or all of them.

Only differences between gradients matter to a clustering, so the mean gradient is subtracted: what
all examples share would only cost digits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tf_gradvar.clustering.objective import CHUNK


class Vectors:
    """Gradients as vectors: sketches `[N, r]`, or anything with the same distances.

    Args:
        vectors: Float32 `[N, r]`, whose memory is taken over: they are centred where they are.

    Attributes:
        vectors: `[N, r]`, around their mean.
        mean: What was subtracted, float64 `[r]`.
        squared_norms: Of the centred vectors, float64 `[N]`.
    """

    def __init__(self, vectors: np.ndarray):
        self.mean = vectors.mean(axis=0, dtype=np.float64)
        self.vectors = vectors
        self.squared_norms = np.empty(len(vectors))
        for part, norms in zip(_chunks(vectors), _chunks(self.squared_norms), strict=True):
            part[:] = part - self.mean
            norms[:] = np.square(part, dtype=np.float64).sum(axis=1)

    def sums(self, assignments: np.ndarray, num_clusters: int) -> np.ndarray:
        """s_k, `[r, K]`."""
        sums = np.zeros((num_clusters, self.vectors.shape[1]), np.float32)
        for part, clusters in zip(_chunks(self.vectors), _chunks(assignments), strict=True):
            sums += _members(clusters, num_clusters) @ part
        return np.ascontiguousarray(sums.T)

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
        found = [self.vectors[part] @ self.vectors[row] for part in _chunks(rows)]
        return np.concatenate(found).astype(np.float64)

    def spread(self, members: np.ndarray) -> float:
        """J of these examples as one cluster: N_k times the squared distances to their mean."""
        mean = np.zeros(self.vectors.shape[1])
        for rows in _chunks(members):
            mean += self.vectors[rows].sum(axis=0, dtype=np.float64)
        mean /= len(members)
        squares = sum(np.square(self.vectors[rows] - mean).sum() for rows in _chunks(members))
        return len(members) * float(squares)


class InnerProducts:
    """All inner products of the gradients, `[N, N]`: their geometry without an approximation.

    The state is who belongs to which cluster, from which <g_i, s_k> is a product of matrices.

    Args:
        products: <g_i, g_j>, float32 `[N, N]`, whose memory is taken over.
    """

    def __init__(self, products: np.ndarray):
        row_means = products.mean(axis=1, dtype=np.float64)
        self.squared_norms = np.empty(len(products))
        for rows in _chunks(np.arange(len(products))):
            centred = products[rows] - row_means[rows, None] - row_means + row_means.mean()
            products[rows] = centred
            self.squared_norms[rows] = np.maximum(centred[np.arange(len(rows)), rows], 0.0)
        self._products = products

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
    """Sketches `[N, r]` with the true norms: what can be known exactly need not be estimated.

    They are scaled where they are, and returned.
    """
    for part, squares in zip(_chunks(sketches), _chunks(squared_norms), strict=True):
        own = np.square(part, dtype=np.float64).sum(axis=1)
        ratio = np.divide(squares, own, out=np.zeros_like(own), where=own > 0)
        part *= np.sqrt(ratio).astype(sketches.dtype)[:, None]
    return sketches


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Views of some rows at a time, so that no copy of all of them is made."""
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def _members(assignments: np.ndarray, num_clusters: int) -> np.ndarray:
    """1 where example i is in cluster k, float32 `[K, N]`."""
    members = np.zeros((num_clusters, len(assignments)), np.float32)
    members[assignments, np.arange(len(assignments))] = 1.0
    return members
