"""Moves of whole clusters, which reach what moves of single examples cannot.

Where one kind of examples is spread over two clusters and two kinds share another, no move of a
single example helps, but to merge the two and to split the other does; duplicates are such a
case. Merging a and b adds

    N_a S_b + N_b S_a - 2 <s_a, s_b>

to J, and splitting a cluster lowers J by what merging its halves would add.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import members_of, sizes_of, totals_of
from tf_gradvar.clustering.geometry import CHUNK, LEAST_GAIN, Gradients

# Splits are looked for in the dearest clusters, this share of all.
_SHARE_SPLIT = 0.25


def split_and_merge(
    gradients: Gradients, assignments: np.ndarray, num_clusters: int, max_size: int | None
) -> np.ndarray:
    """Make pairs of a merge and a split as long as the pair lowers J.

    Args:
        gradients: Their norms and inner products.
        assignments: Integers `[N]`, no cluster empty.
        num_clusters: K.
        max_size: The most examples in a cluster; None: no limit.

    Returns:
        Assignments, int64 `[N]`; no cluster is empty.
    """
    assignments = np.array(assignments, np.int64)
    merges = _merge_costs(gradients, assignments, num_clusters, max_size)
    for gain, cluster, half in _splits(gradients, assignments, num_clusters):
        merges[cluster, :] = merges[:, cluster] = np.inf
        kept, gone = np.unravel_index(merges.argmin(), merges.shape)
        if not merges[kept, gone] < gain * (1.0 - LEAST_GAIN):
            break
        assignments[assignments == gone] = kept
        assignments[half] = gone
        for touched in (kept, gone):
            merges[touched, :] = merges[:, touched] = np.inf
    return assignments


def _merge_costs(
    gradients: Gradients, assignments: np.ndarray, num_clusters: int, max_size: int | None
) -> np.ndarray:
    """Return what merging two clusters adds to J, `[K, K]`; infinite where it is not allowed."""
    sizes = sizes_of(assignments, num_clusters).astype(np.float64)
    squares = totals_of(assignments, gradients.squared_norms, num_clusters)
    state = gradients.sums(assignments, num_clusters)
    products = np.zeros((num_clusters, num_clusters))
    for cluster, members in enumerate(members_of(assignments, len(assignments), num_clusters)):
        for start in range(0, len(members), CHUNK):
            products[cluster] += gradients.products(members[start : start + CHUNK], state).sum(0)
    costs = np.outer(sizes, squares) + np.outer(squares, sizes) - products - products.T
    if max_size is not None:
        costs[np.add.outer(sizes, sizes) > max_size] = np.inf
    np.fill_diagonal(costs, np.inf)
    return costs


def _splits(
    gradients: Gradients, assignments: np.ndarray, num_clusters: int
) -> list[tuple[float, int, np.ndarray]]:
    """Return gain, cluster and one half of its members for some splits, the largest gain first."""
    clusters = members_of(assignments, len(assignments), num_clusters)
    spreads = np.array([gradients.spread(members) for members in clusters])
    found = []
    for cluster in np.argsort(-spreads)[: max(1, int(_SHARE_SPLIT * num_clusters))]:
        members = clusters[cluster]
        near = _nearer_half(gradients, members)
        if near.all() or not near.any():
            continue
        halves = gradients.spread(members[near]) + gradients.spread(members[~near])
        found.append((float(spreads[cluster] - halves), int(cluster), members[near]))
    return sorted(found, key=lambda split: -split[0])


def _nearer_half(gradients: Gradients, members: np.ndarray) -> np.ndarray:
    """Return whether each gradient is nearer to the longest than to the farthest from that."""
    norms = gradients.squared_norms[members]

    def distances(place: int) -> np.ndarray:
        return norms + norms[place] - 2.0 * gradients.inner(members, members[place])

    from_longest = distances(int(norms.argmax()))
    return from_longest < distances(int(from_longest.argmax()))
