"""Assignment rules for centres that stay where they are during a pass.

Both rules see nothing but the squared distances `[N, K]` of the gradients to the centres.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import sizes_of, totals_of
from tf_gradvar.clustering.geometry import LEAST_GAIN


def exact_rule(
    distances: np.ndarray,
    assignments: np.ndarray,
    order: np.ndarray,
    *,
    max_size: int | None = None,
) -> np.ndarray:
    """Return assignments after moves that never raise Eq. 2 for the given centres.

    With T_k = sum_{i in k} d_ik the objective is sum_k N_k T_k, so a move from a to b adds

        T_b + (N_b + 1) d_ib - T_a - (N_a - 1) d_ia.

    Args:
        distances: d_ik = ||C_k - g_i||^2, float `[N, K]`.
        assignments: Where to start, integers `[N]`.
        order: The order to take the examples in, a permutation of `range(N)`.
        max_size: The most examples in a cluster; None: no limit.

    Returns:
        New assignments, int64 `[N]`.
    """
    assignments = np.array(assignments, np.int64)
    num_clusters = distances.shape[1]
    sizes = sizes_of(assignments, num_clusters).astype(np.float64)
    own = distances[np.arange(len(assignments)), assignments]
    totals = totals_of(assignments, own, num_clusters)
    for row in order:
        old, near = assignments[row], distances[row]
        costs = totals + (sizes + 1.0) * near
        if max_size is not None:
            costs[sizes >= max_size] = np.inf
        here = totals[old] + (sizes[old] - 1.0) * near[old]
        costs[old] = here
        new = costs.argmin()
        if sizes[old] == 1.0 or costs[new] >= here - LEAST_GAIN * abs(here):
            continue
        assignments[row] = new
        sizes[old] -= 1.0
        sizes[new] += 1.0
        totals[old] -= near[old]
        totals[new] += near[new]
    return assignments


def paper_rule(distances: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return assignments by the published code: Eq. 3 with the counts of the pass so far, plus one.

        a_i = argmin_k (n_k + 1) ||C_k - g_i||^2

    With N_k of the last pass, as Eq. 3 is printed, the clusters collapse.

    Args:
        distances: ||C_k - g_i||^2, float `[N, K]`.
        order: The order to take the examples in, a permutation of `range(N)`.

    Returns:
        Assignments, int64 `[N]`.

    Source: Faghri et al. 2020, Fig. 2 and Eq. 3, and its published code.
    """
    assignments = np.empty(len(distances), np.int64)
    counts = np.ones(distances.shape[1])
    for row in order:
        chosen = (counts * distances[row]).argmin()
        assignments[row] = chosen
        counts[chosen] += 1.0
    return assignments


def centre_distances(
    squared_norms: np.ndarray, products: np.ndarray, centre_norms: np.ndarray
) -> np.ndarray:
    """Return ||C_k - g_i||^2 from ||g_i||^2 `[N]`, <g_i, C_k> `[N, K]` and ||C_k||^2 `[K]`.

    They are written over the products, float64, and returned.
    """
    products *= -2.0
    products += squared_norms[:, None]
    products += centre_norms
    return np.maximum(products, 0.0, out=products)
