"""Variances by enumeration: every batch that an estimator can draw, with its probability.

All gradients are rows of a float64 matrix [N, P]. An estimator is a list of (probability,
estimate); its variance is the plain expectation over that list. Nothing is known here of
closed forms.
"""

import itertools

import numpy as np


def batches(members, size, replacement):
    """All draws of `size` from `members`, equally likely."""
    if replacement:
        return list(itertools.product(members, repeat=size))
    return list(itertools.permutations(members, size))


def mini_batch(gradients, size, replacement=True):
    drawn = batches(range(len(gradients)), size, replacement)
    return [(1 / len(drawn), gradients[list(batch)].mean(axis=0)) for batch in drawn]


def svrg(gradients, at_snapshot, size, replacement=True):
    drawn = batches(range(len(gradients)), size, replacement)
    full = at_snapshot.mean(axis=0)
    return [
        (1 / len(drawn), np.mean([gradients[i] - at_snapshot[i] + full for i in batch], axis=0))
        for batch in drawn
    ]


def stratified(gradients, assignments, draws, replacement=True):
    assignments = np.asarray(assignments)
    clusters = range(assignments.max() + 1)
    draws = np.broadcast_to(draws, len(clusters))
    choices = [
        batches(np.flatnonzero(assignments == k), int(draws[k]), replacement) for k in clusters
    ]
    shares = [(assignments == k).mean() for k in clusters]
    found = list(itertools.product(*choices))
    return [
        (
            1 / len(found),
            sum(
                share * gradients[list(batch)].mean(axis=0)
                for share, batch in zip(shares, batch_of_each, strict=True)
            ),
        )
        for batch_of_each in found
    ]


def discover(
    gradients, assignments, q, buffers, group_size, groups, replacement=True, gain=1.0, scale=1.0
):
    """v_t for every way to draw the clusters and the examples of the groups.

    The scale, of the correction, is a number or one for each coordinate.
    """
    assignments = np.asarray(assignments)
    average = sum(p * buffer for p, buffer in zip(q, buffers, strict=True))
    one_group = []
    for k, p in enumerate(q):
        drawn = batches(np.flatnonzero(assignments == k), group_size, replacement)
        one_group += [
            (p / len(drawn), gradients[list(batch)].mean(axis=0), buffers[k]) for batch in drawn
        ]
    found = []
    for step in itertools.product(one_group, repeat=groups):
        plain = np.mean([g for _, g, _ in step], axis=0)
        corrected = average + gain * np.mean([g - buffer for _, g, buffer in step], axis=0)
        found.append((np.prod([p for p, _, _ in step]), plain + scale * (corrected - plain)))
    return found


def mean(estimates):
    return sum(p * estimate for p, estimate in estimates)


def coordinate_variances(estimates):
    centre = mean(estimates)
    return sum(p * (estimate - centre) ** 2 for p, estimate in estimates)


def variance(estimates):
    return coordinate_variances(estimates).sum()


def normalized_variance(estimates):
    variances = coordinate_variances(estimates)
    powers = sum(p * estimate**2 for p, estimate in estimates)
    return np.mean([v / p if p > 0 else 0.0 for v, p in zip(variances, powers, strict=True)])
