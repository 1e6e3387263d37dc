"""Who carries the noise, from the definitions: plain loops over gradients `[N, P]` in float64."""

import itertools

import numpy as np


def total_noise(g):
    mean = sum(g) / len(g)
    return sum(float((row - mean) @ (row - mean)) for row in g) / len(g)


def between_noise(g, ids):
    mean, found = sum(g) / len(g), 0.0
    for k in set(ids):
        members = [row for row, group in zip(g, ids, strict=True) if group == k]
        difference = sum(members) / len(members) - mean
        found += len(members) / len(g) * float(difference @ difference)
    return found


def deals(ids):
    """All ways to deal the examples into groups of these sizes, equally likely."""
    return [list(order) for order in itertools.permutations(ids)]


def share_of_deals(g, ids):
    """The mean of B / T over all deals, and the part of them at least as large as this one."""
    shares = [between_noise(g, deal) / total_noise(g) for deal in deals(ids)]
    observed = between_noise(g, ids) / total_noise(g)
    return np.mean(shares), np.mean([share >= observed * (1 - 1e-9) for share in shares])


def leave_one_out_mean(g, ids, i):
    others = [g[j] for j in range(len(g)) if ids[j] == ids[i] and j != i]
    return sum(others) / len(others) if others else None


def components(g, tolerance, floor):
    """Groups of near-duplicates by a search from every example; sets of at least two."""
    norms = [float(np.sqrt(row @ row)) for row in g]

    def close(i, j):
        larger = max(norms[i], norms[j])
        distance = float(np.sqrt((g[i] - g[j]) @ (g[i] - g[j])))
        return min(norms[i], norms[j]) > floor * max(norms) and distance <= tolerance * larger

    found, seen = [], set()
    for start in range(len(g)):
        group, waiting = set(), [start]
        while waiting:
            i = waiting.pop()
            if i in seen:
                continue
            seen.add(i)
            group.add(i)
            waiting += [j for j in range(len(g)) if j != i and close(i, j)]
        if len(group) > 1:
            found.append(group)
    return found


def opposition_and_support(g, labels, most, copy, references=None):
    """Means of the largest cosines, negated ones with other labels and those with the same."""
    cosines = [[a @ b / np.sqrt(a @ a) / np.sqrt(b @ b) for b in g] for a in g]
    references = range(len(g)) if references is None else references
    opposition, support = [], []
    for i in range(len(g)):
        against = [-cosines[i][j] for j in references if labels[j] != labels[i]]
        with_it = [cosines[i][j] for j in references if labels[j] == labels[i] and j != i]
        with_it = [cosine for cosine in with_it if cosine <= copy]
        for found, values in ((opposition, against), (support, with_it)):
            largest = sorted(values)[-most:]
            found.append(sum(largest) / len(largest) if largest else 0.0)
    return np.array(opposition), np.array(support)
