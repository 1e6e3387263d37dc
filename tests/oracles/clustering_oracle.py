"""Gradient Clustering by brute force, in float64, from the definitions."""

import itertools

import numpy as np


def enumerated_variance(gradients, assignments):
    """Variance of `sum_k (N_k/N) g_{j(k)}` over all ways to draw one example from every cluster."""
    gradients = np.asarray(gradients, np.float64)
    clusters = [np.flatnonzero(assignments == k) for k in np.unique(assignments)]
    estimates = np.array([
        sum(len(members) / len(gradients) * gradients[j]
            for members, j in zip(clusters, draw, strict=True))
        for draw in itertools.product(*clusters)
    ])  # fmt: skip
    # All draws are equally likely.
    return float(((estimates - estimates.mean(axis=0)) ** 2).sum(axis=1).mean())


def pair_cost(gradients, assignments, example, cluster):
    """Sum of the squared distances of one example to the other members of a cluster."""
    gradients = np.asarray(gradients, np.float64)
    others = [j for j in np.flatnonzero(assignments == cluster) if j != example]
    return float(sum(((gradients[j] - gradients[example]) ** 2).sum() for j in others))


def equation_2(gradients, assignments, centres):
    """`sum_k N_k sum_{i in k} ||C_k - g_i||^2` for any centres."""
    total = 0.0
    for k, centre in enumerate(np.asarray(centres, np.float64)):
        members = np.flatnonzero(assignments == k)
        for i in members:
            total += len(members) * ((centre - gradients[i]) ** 2).sum()
    return float(total)


def stratified_share(gradients, assignments, num_clusters):
    """V[one draw from every cluster] / V[K independent draws]."""
    gradients = np.asarray(gradients, np.float64)
    count = len(gradients)
    within = 0.0
    for k in range(num_clusters):
        members = gradients[assignments == k]
        within += (len(members) / count) ** 2 * members.var(axis=0).sum()
    return float(within / (gradients.var(axis=0).sum() / num_clusters))
