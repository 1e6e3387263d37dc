"""Every batch that a stratified sampler can draw, with its probability, in exact fractions.

Systematic sampling by its picture: clusters of the lengths e_k lie on a line in some order, marks
at u, u + 1, u + 2 ... with u uniform in [0, 1), and each cluster draws as often as it has marks.
"""

import itertools
from fractions import Fraction

import numpy as np

from tests.oracles import estimator_oracle


def systematic(expected, order):
    """All (probability, n) for one order of the clusters; `expected` are fractions."""
    ends = dict(zip(order, itertools.accumulate(expected[k] for k in order), strict=True))
    breaks = sorted({Fraction(0), Fraction(1), *(end % 1 for end in ends.values())})
    total = int(sum(expected))
    found = []
    for low, high in itertools.pairwise(breaks):
        marks = [(low + high) / 2 + j for j in range(total)]
        counts = [sum(ends[k] - expected[k] <= m < ends[k] for m in marks) for k in sorted(order)]
        found.append((high - low, tuple(counts)))
    return found


def all_draws(expected):
    """All (probability, n), over the orders of the clusters too, equal n merged."""
    orders = list(itertools.permutations(range(len(expected))))
    merged: dict = {}
    for order in orders:
        for probability, counts in systematic(expected, order):
            merged[counts] = merged.get(counts, 0) + probability / len(orders)
    return [(probability, counts) for counts, probability in merged.items()]


def estimates(gradients, assignments, draws, weights, replacement=True):
    """All (probability, (1/B) sum of weight times gradient) for the (probability, n) given."""
    members = [np.flatnonzero(np.asarray(assignments) == k) for k in range(len(weights))]
    found = []
    for probability, counts in draws:
        choices = [
            estimator_oracle.batches(mine, count, replacement)
            for mine, count in zip(members, counts, strict=True)
        ]
        batches = list(itertools.product(*choices))
        for batch in batches:
            total = sum(
                weight * gradients[list(mine)].sum(axis=0)
                for weight, mine in zip(weights, batch, strict=True)
                if mine
            )
            found.append((float(probability) / len(batches), total / sum(counts)))
    return found
