"""Search for a learning rate and arguments of a rule, with a fixed number of runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

LEARNING_RATE = "learning_rate"
# The share of the runs that are drawn before the search goes on from the best of them.
DRAWN = 3 / 4
# From one learning rate to the next beside it.
FACTOR = 2.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A learning rate, and the arguments of the rule that are tried with it."""

    learning_rate: float
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the names of runs end with, "lr0.1-gain0.3"."""
        others = (f"-{key}{shown(value)}" for key, value in self.arguments.items())
        return f"lr{self.learning_rate:g}{''.join(others)}"


Score: TypeAlias = Callable[[Candidate], float | None]


def shown(value: Any) -> str:
    """Return an argument's value for readers."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def grid(search: Mapping[str, Sequence[Any]]) -> list[Candidate]:
    """Return every combination of the values.

    Args:
        search: The values of the learning rate, and of any argument of the rule.

    Example:
        >>> [candidate.name for candidate in grid({"learning_rate": (0.1, 0.2), "nu": (0.7,)})]
        ['lr0.1-nu0.7', 'lr0.2-nu0.7']
    """
    others = {key: values for key, values in search.items() if key != LEARNING_RATE}
    return [
        Candidate(rate, dict(zip(others, values, strict=True)))
        for values in itertools.product(*others.values())
        for rate in search[LEARNING_RATE]
    ]


def candidates(
    search: Mapping[str, Sequence[Any]], runs: int, seed: int, score: Score
) -> list[Candidate]:
    """Return what a search of so many runs tries, as far as the scores tell.

    Three quarters of the runs are drawn from the grid, without replacement. Each of the others goes
    from the best so far to the learning rate a factor 2 above it, then below it, also beyond the
    grid; where both are known to be worse, it is the next draw. So all optimizers get the same
    number of runs, and the best lies between two worse ones as often as the runs suffice.

    Args:
        search: The values of the learning rate, and of any argument of the rule.
        runs: How many are tried, at most the size of the grid.
        seed: Seed of the draws.
        score: Candidate -> what should be small; None if its run is not finished.

    Returns:
        The finished ones and those that can be run now.
    """
    points = grid(search)
    draws = [points[index] for index in np.random.default_rng(seed).permutation(len(points))]
    tried = draws[: math.ceil(DRAWN * runs)]
    while len(tried) < runs and all(score(candidate) is not None for candidate in tried):
        best = min(tried, key=lambda candidate: badness(candidate, score(candidate)))
        beside = missing_beside(best, tried)
        tried.append((beside or [c for c in draws if c not in tried])[0])
    return tried


def badness(candidate: Candidate, score: float | None) -> tuple[float, float]:
    """Return what is smallest for the best candidate; of equal ones that of the smaller rate."""
    finite = score is not None and math.isfinite(score)
    return (score if finite else math.inf, candidate.learning_rate)


def missing_beside(candidate: Candidate, tried: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates a factor 2 above and below that are to be tried with its arguments.

    None on a side where one was tried that is not further away.
    """
    rate = candidate.learning_rate
    rates = [c.learning_rate for c in tried if c.arguments == candidate.arguments]
    above, below = FACTOR * rate, rate / FACTOR
    missing = []
    if not any(rate < other <= above for other in rates):
        missing.append(dataclasses.replace(candidate, learning_rate=above))
    if not any(below <= other < rate for other in rates):
        missing.append(dataclasses.replace(candidate, learning_rate=below))
    return missing
