"""The objective of Gradient Clustering and the sums from which it follows.

With N_k examples in cluster k, S_k the sum of their ||g_i||^2 and s_k the sum of their g_i,

    J = sum_k N_k sum_{i in k} ||C_k - g_i||^2 = sum_k (N_k S_k - ||s_k||^2)       (Eq. 2)

where C_k = s_k / N_k. J = N^2 V, with V the variance of a stratified mini-batch that draws one
example from every cluster, and (J / N^2) / (V_1 / B) is its ratio to the variance of B = K
independent draws, V_1 being the variance of one example's gradient.

Source: Faghri et al. 2020, section 3.2, Eq. 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_gradvar.assignments import members_of

# A change must lower its share of J by more than this part of the terms that are compared: a
# smaller gain may be rounding, and a search that follows it may never end.
LEAST_GAIN = 1e-6

# Examples that are looked at in one piece where a copy of all of them would cost memory.
CHUNK = 4096


def objective(gradients: Any, assignments: np.ndarray, num_clusters: int) -> float:
    """J of an assignment.

    Args:
        gradients: Has a method `spread` (see `exact_moves.Gradients`).
        assignments: Cluster of each example, integers `[N]`.
        num_clusters: K.

    Returns:
        J, as float64.
    """
    clusters = members_of(assignments, len(assignments), num_clusters)
    return sum(gradients.spread(members) for members in clusters if len(members) > 1)


def variance_ratio(objective_value: float, one_cluster: float, num_clusters: int) -> float:
    """V[GC] / V[SG-B] with B = K, from J and the J of all examples in one cluster.

    Args:
        objective_value: J.
        one_cluster: J for K = 1, which is N^2 V_1.
        num_clusters: K.

    Returns:
        The ratio; 0 where all gradients are equal.
    """
    return num_clusters * objective_value / one_cluster if one_cluster > 0 else 0.0
