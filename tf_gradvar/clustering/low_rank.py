"""Truncated singular value decompositions of the clusters' mean gradients."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_gradvar.per_example import Factors

_OVERSAMPLING = 8
_POWER_STEPS = 2


def truncated(matrices: np.ndarray, rank: int, rng: np.random.Generator) -> Factors:
    """Return the best approximation of low rank to each of K matrices, by subspace iteration.

    Args:
        matrices: `[K, rows, columns]`.
        rank: r, at least 1; less where a matrix is smaller.
        rng: Start of the iteration.

    Returns:
        Factors left `[K, rows, r]` and right `[K, columns, r]`, of the dtype of the matrices.

    Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, Algorithm 4.4.
    """
    num_clusters, rows, columns = matrices.shape
    width = min(rank + _OVERSAMPLING, rows, columns)
    rank = min(rank, width)
    left = np.empty((num_clusters, rows, rank), matrices.dtype)
    right = np.empty((num_clusters, columns, rank), matrices.dtype)
    for k, matrix in enumerate(matrices):
        basis = rng.normal(size=(columns, width)).astype(matrices.dtype)
        for _ in range(_POWER_STEPS):
            basis = np.linalg.qr(matrix.T @ np.linalg.qr(matrix @ basis)[0])[0]
        u, values, v = np.linalg.svd(matrix @ basis, full_matrices=False)
        left[k] = u[:, :rank] * values[:rank]
        right[k] = basis @ v[:rank].T
    return Factors(tf.constant(left), tf.constant(right))
