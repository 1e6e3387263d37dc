"""Initial assignments of a clustering, repair of empty clusters, and a limit on their sizes."""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import sizes_of, totals_of


def clusters_of_equal_norm(squared_norms: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return clusters of neighbours in norm, each with about the same sum of norms.

    As long as nothing is known about directions, J is least where sum_{i in k} ||g_i|| is the
    same for every cluster: few examples with large gradients, or many with small ones.

    Args:
        squared_norms: ||g_i||^2, `[N]`.
        num_clusters: K.

    Returns:
        Assignments, int64 `[N]`; some clusters may be empty.
    """
    norms = np.sqrt(squared_norms)
    if not norms.any():
        norms = np.ones_like(norms)
    order = np.argsort(-norms, kind="stable")
    middle = norms[order].cumsum() - norms[order] / 2
    places = np.minimum(middle / norms.sum() * num_clusters, num_clusters - 1)
    assignments = np.empty(len(norms), np.int64)
    assignments[order] = places.astype(np.int64)
    return assignments


def fill_empty(
    assignments: np.ndarray, costs: np.ndarray, num_clusters: int, rng: np.random.Generator
) -> np.ndarray:
    """Give every empty cluster a random half of the cluster that costs most.

    Args:
        assignments: Integers `[N]`.
        costs: The squared norm of each example, or its squared distance to the centre, `[N]`. A
            cluster costs its size times the sum of these.
        num_clusters: K, at most N.
        rng: Chooses the halves.

    Returns:
        Assignments without an empty cluster, int64 `[N]`.
    """
    assignments = np.array(assignments, np.int64)
    sizes = sizes_of(assignments, num_clusters)
    sums = totals_of(assignments, costs, num_clusters)
    for empty in np.flatnonzero(sizes == 0):
        divisible = np.where(sizes > 1, sizes * sums, -1.0)
        dearest = int(divisible.argmax())
        members = rng.permutation(np.flatnonzero(assignments == dearest))
        half = members[: len(members) // 2]
        assignments[half] = empty
        sizes = sizes_of(assignments, num_clusters)
        sums = totals_of(assignments, costs, num_clusters)
    return assignments


def limit_sizes(
    assignments: np.ndarray, num_clusters: int, max_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Move random examples of clusters that are too large to clusters that have room.

    Args:
        assignments: Integers `[N]`.
        num_clusters: K, with K * max_size >= N.
        max_size: The most examples in a cluster.
        rng: Chooses the examples.

    Returns:
        Assignments, int64 `[N]`.
    """
    assignments = np.array(assignments, np.int64)
    sizes = sizes_of(assignments, num_clusters)
    room = np.repeat(np.arange(num_clusters), np.maximum(max_size - sizes, 0))
    surplus = [
        rng.permutation(np.flatnonzero(assignments == k))[max_size:]
        for k in np.flatnonzero(sizes > max_size)
    ]
    if surplus:
        moved = np.concatenate(surplus)
        assignments[moved] = rng.permutation(room)[: len(moved)]
    return assignments
