"""Discover with owned clusters in float64 NumPy, one replica and one group at a time.

The blocks are cut by hand, the average of the buffers is added up anew at every step, and an
expectation is the sum over every possible draw. Imports nothing of the package.
"""

import itertools

import numpy as np


def blocks(num_clusters, num_replicas):
    """The clusters of each replica: consecutive, the first blocks one longer."""
    return [list(block) for block in np.array_split(np.arange(num_clusters), num_replicas)]


def within(probabilities, num_replicas):
    """p(k|r) of each cluster in its block."""
    result = {}
    for block in blocks(len(probabilities), num_replicas):
        mass = sum(probabilities[k] for k in block)
        result.update({k: probabilities[k] / mass for k in block})
    return result


class OwnedControlVariate:
    """v = gbar + gain times the sum over replicas of their mean of w (G - g), then the buffers.

    A group of cluster k counts w = q_k / p(k|r). Its buffer moves along the deviations of all of
    its groups from where it was, by `rate` / p(k|r) for each whole replica's worth of groups, where
    `rate` is the smallest p(k|r) times alpha for each group, at most times 1.
    """

    def __init__(self, shapes, probabilities, num_replicas, alpha, gain=1.0, scale=1.0):
        self.q, self.num_replicas, self.alpha = list(probabilities), num_replicas, alpha
        self.gain = alpha if gain == "alpha" else gain
        self.scale = scale
        self.within = within(probabilities, num_replicas)
        self.blocks = blocks(len(self.q), num_replicas)
        self.buffers = [{k: np.zeros(s) for k in range(len(self.q))} for s in shapes]
        self.skipped = 0

    def average(self, i):
        return sum(q * self.buffers[i][k] for k, q in enumerate(self.q))

    def correct(self, groups, clusters, sizes=None):
        """Groups [C, ...] in the order of the replicas, equally many of each."""
        each = len(clusters) // self.num_replicas
        kept = []
        for r, block in enumerate(self.blocks):
            finite = [
                c
                for c in range(r * each, (r + 1) * each)
                if clusters[c] in block
                and all(np.isfinite(g[c]).all() for g in groups if g is not None)
            ]
            self.skipped += each - len(finite)
            kept.append(finite)
        return [None if g is None else self._one(i, g, clusters, kept, each)
                for i, g in enumerate(groups)]  # fmt: skip

    def _one(self, i, gradient, clusters, kept, each):
        buffers = self.buffers[i]
        corrected, plain = self.average(i), np.zeros_like(self.average(i))
        rate = min(1.0, each * self.alpha) * min(p for p in self.within.values() if p > 0)
        moves = []
        for mine in kept:
            for c in mine:
                k = clusters[c]
                weight = self.q[k] / self.within[k] / len(mine)
                plain = plain + weight * gradient[c]
                deviation = gradient[c] - buffers[k]
                corrected = corrected + self.gain * weight * deviation
                moves.append((k, rate / self.within[k] / len(mine) * deviation))
        for k, move in moves:
            buffers[k] = buffers[k] + move
        return (1 - self.scale) * plain + self.scale * corrected


def all_draws(probabilities, num_replicas, each, examples):
    """Every (clusters, examples) of a step and its probability: each replica from its block."""
    p = within(probabilities, num_replicas)
    options = [list(itertools.product(block, range(examples)))
               for block in blocks(len(probabilities), num_replicas)]  # fmt: skip
    of_groups = [option for option in options for _ in range(each)]
    for draw in itertools.product(*of_groups):
        clusters = [k for k, _ in draw]
        probability = np.prod([p[k] / examples for k in clusters])
        if not probability:
            continue
        yield clusters, [e for _, e in draw], probability
