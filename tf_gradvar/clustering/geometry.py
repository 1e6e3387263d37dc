"""The geometry of N gradients in memory, and the objective of a clustering of them.

With N_k examples in cluster k, S_k the sum of their ||g_i||^2 and s_k the sum of their g_i,

    J = sum_k N_k sum_{i in k} ||C_k - g_i||^2 = sum_k (N_k S_k - ||s_k||^2)       (Eq. 2)

where C_k = s_k / N_k. J = N^2 V, with V the variance of a stratified mini-batch that draws one
example from every cluster, and (J / N^2) / (V_1 / B) is its ratio to the variance of B = K
independent draws, V_1 being the variance of one example's gradient.

The gradients are held as sketches or as all their inner products. Only differences between them
matter to a clustering, so the mean gradient is subtracted: what all examples share would only cost
digits.

Source: Faghri et al. 2020, section 3.2, Eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from tf_gradvar.assignments import members_of

# A change must lower its share of J by more than this part of the terms that are compared: a
# smaller gain may be rounding, and a search that follows it may never end.
LEAST_GAIN = 1e-6

# Examples that are looked at in one piece where a copy of all of them would cost memory.
CHUNK = 4096


class Gradients(Protocol):
    """The questions that a clustering asks about N gradients."""

    squared_norms: np.ndarray  # [N] float64

    def sums(self, assignments: np.ndarray, num_clusters: int) -> np.ndarray:
        """Return the state `[., K]` from which `products` follow."""

    def products(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return <g_i, s_k> for the examples in `rows`, float64 `[n, K]`."""

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """Return <g_i, g_j>, float64 `[n, n]`."""

    def move(self, state: np.ndarray, row: int, old: int, new: int) -> None:
        """Update the state in place."""

    def inner(self, rows: np.ndarray, row: int) -> np.ndarray:
        """Return <g_i, g_row> for the examples in `rows`, float64 `[n]`."""

    def spread(self, members: np.ndarray) -> float:
        """Return J of these examples as one cluster."""


def objective(gradients: Gradients, assignments: np.ndarray, num_clusters: int) -> float:
    """Return J of an assignment.

    Args:
        gradients: The gradients, of which only `spread` is asked.
        assignments: Cluster of each example, integers `[N]`.
        num_clusters: K.

    Returns:
        J, a float.
    """
    clusters = members_of(assignments, len(assignments), num_clusters)
    return sum(gradients.spread(members) for members in clusters if len(members) > 1)


def variance_ratio(objective_value: float, one_cluster: float, num_clusters: int) -> float:
    """Return V[GC] / V[SG-B] with B = K, from J and the J of all examples in one cluster.

    Args:
        objective_value: J.
        one_cluster: J for K = 1, which is N^2 V_1.
        num_clusters: K.

    Returns:
        The ratio; 0 where all gradients are equal.
    """
    return num_clusters * objective_value / one_cluster if one_cluster > 0 else 0.0


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
        """Return s_k, `[r, K]`."""
        sums = np.zeros((num_clusters, self.vectors.shape[1]), np.float32)
        for part, clusters in zip(_chunks(self.vectors), _chunks(assignments), strict=True):
            sums += _members(clusters, num_clusters) @ part
        return np.ascontiguousarray(sums.T)

    def products(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return <g_i, s_k>, float64 `[n, K]`."""
        return (self.vectors[rows] @ state).astype(np.float64)

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """Return <g_i, g_j>, float64 `[n, n]`."""
        chunk = self.vectors[rows]
        return (chunk @ chunk.T).astype(np.float64)

    def move(self, state: np.ndarray, row: int, old: int, new: int) -> None:
        """Move one example between the sums."""
        state[:, old] -= self.vectors[row]
        state[:, new] += self.vectors[row]

    def inner(self, rows: np.ndarray, row: int) -> np.ndarray:
        """Return <g_i, g_row>, float64 `[n]`."""
        found = [self.vectors[part] @ self.vectors[row] for part in _chunks(rows)]
        return np.concatenate(found).astype(np.float64)

    def spread(self, members: np.ndarray) -> float:
        """Return J of these examples as one cluster: N_k times their squared distances to C_k."""
        mean = np.zeros(self.vectors.shape[1])
        for rows in _chunks(members):
            mean += self.vectors[rows].sum(axis=0, dtype=np.float64)
        mean /= len(members)
        squares = sum(np.square(self.vectors[rows] - mean).sum() for rows in _chunks(members))
        return len(members) * float(squares)


class InnerProducts:
    """All inner products of the gradients, `[N, N]`: their geometry without an approximation.

    The state holds the memberships, from which <g_i, s_k> is a product of matrices.

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
        """Return the memberships, 0 or 1, `[N, K]`."""
        return np.ascontiguousarray(_members(assignments, num_clusters).T)

    def products(self, rows: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Return <g_i, s_k>, float64 `[n, K]`."""
        return (self._products[rows] @ state).astype(np.float64)

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """Return <g_i, g_j>, float64 `[n, n]`."""
        return self._products[np.ix_(rows, rows)].astype(np.float64)

    def move(self, state: np.ndarray, row: int, old: int, new: int) -> None:
        """Move one example between the clusters."""
        state[row, old], state[row, new] = 0.0, 1.0

    def inner(self, rows: np.ndarray, row: int) -> np.ndarray:
        """Return <g_i, g_row>, float64 `[n]`."""
        return self._products[rows, row].astype(np.float64)

    def spread(self, members: np.ndarray) -> float:
        """Return J of these examples as one cluster."""
        inner = self._products[np.ix_(members, members)].sum(dtype=np.float64)
        return max(len(members) * float(self.squared_norms[members].sum()) - float(inner), 0.0)


def scaled_sketches(sketches: np.ndarray, squared_norms: np.ndarray) -> np.ndarray:
    """Scale sketches `[N, r]` in place to the true norms, and return them.

    A norm that is known exactly need not be estimated.
    """
    for part, squares in zip(_chunks(sketches), _chunks(squared_norms), strict=True):
        own = np.square(part, dtype=np.float64).sum(axis=1)
        ratio = np.divide(squares, own, out=np.zeros_like(own), where=own > 0)
        part *= np.sqrt(ratio).astype(sketches.dtype)[:, None]
    return sketches


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield views of some rows at a time, so that no copy of all of them is made."""
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def _members(assignments: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return 1 where example i is in cluster k, else 0, float32 `[K, N]`."""
    members = np.zeros((num_clusters, len(assignments)), np.float32)
    members[assignments, np.arange(len(assignments))] = 1.0
    return members
