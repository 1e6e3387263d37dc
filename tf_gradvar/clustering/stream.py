"""Clusters of a stream of batches, whose old examples fade.

The sums of the clusters are exponential averages: before a batch is added, all of N_k, S_k and s_k
are multiplied by 1 - rate, so that old examples, whose gradients have changed, count less. Nothing
of the size of the stream is held.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.clustering.cluster_sums import ClusterSums

# A cluster that fades below this share of one example has lost its place to a new one.
_LEAST_SIZE = 0.1


def add_batch(clusters: ClusterSums, sketches: np.ndarray, rate: float) -> np.ndarray:
    """Let old examples fade and add a batch, one example after the other.

    A cluster that has faded away is given the example that costs most where it is.

    Args:
        clusters: Their sums, changed in place.
        sketches: `[n, r]`.
        rate: The share of the old sums that is forgotten.

    Returns:
        Clusters of the batch, int64 `[n]`.
    """
    vectors = sketches - clusters.origin
    norms = np.square(vectors).sum(axis=1)
    for values in (clusters.sizes, clusters.squares, clusters.sums):
        values *= 1.0 - rate
    assignments = np.empty(len(vectors), np.int64)
    paid = np.empty(len(vectors))
    for i, (vector, norm) in enumerate(zip(vectors, norms, strict=True)):
        costs = clusters.squares + clusters.sizes * norm - 2.0 * clusters.sums @ vector
        assignments[i] = k = int(costs.argmin())
        paid[i] = costs[k]
        clusters.add(k, vector, norm)
    for faded in np.flatnonzero(clusters.sizes < _LEAST_SIZE):
        i = int(paid.argmax())
        if paid[i] <= 0:
            break
        clusters.add(int(assignments[i]), vectors[i], norms[i], times=-1.0)
        clusters.add(int(faded), vectors[i], norms[i])
        assignments[i], paid[i] = faded, 0.0
    return assignments
