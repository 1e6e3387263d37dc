"""Verdicts on claims of a paper: the claims, their evidences, and the rows that these give."""

from __future__ import annotations

import abc
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "not decided"
NOT_RUN = "not run"
NOT_HERE = "not testable here"

# What is true in at least, or at most, these shares of the cases is decided.
MOST, FEW = 0.95, 0.05

# Name of an experiment -> its results, of a type of its own.
Found = Mapping[str, Any]


class Row(NamedTuple):
    """What one experiment says of a claim.

    Attributes:
        experiment: Its name, "NAME:VARIANT".
        reading: Of Equation 4, or a statistic, or what else tells the rows of a claim apart.
        measured: The numbers.
        verdict: One of the four above.
    """

    experiment: str
    reading: str
    measured: str
    verdict: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim.

    Attributes:
        statement: What the paper says, in our words.
        source: Where it says so.
        evidences: What gives the rows.
        note: What a reader must know to judge them.
    """

    statement: str
    source: str
    evidences: Sequence[Callable[[Found], list[Row]]]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class OfExperiment(abc.ABC):
    """Evidence from one experiment alone.

    Attributes:
        experiment: Its name.
        reading: What tells its rows apart from those of another evidence.
    """

    experiment: str
    reading: str = dataclasses.field(default="", kw_only=True)

    def __call__(self, found: Found) -> list[Row]:
        """Return the rows, or the one that says that it was not run."""
        results = found.get(self.experiment)
        if results is None:
            return [Row(self.experiment, self.reading, "", NOT_RUN)]
        return self.rows(results)

    @abc.abstractmethod
    def rows(self, results: Any) -> list[Row]:
        """Return what the results say."""


def verdict_of(share: float) -> str:
    """Return the verdict on what is true in a share of the cases.

    Example:
        >>> verdict_of(0.96), verdict_of(0.5), verdict_of(0.0)
        ('holds', 'not decided', 'does not hold')
    """
    return HOLDS if share >= MOST else FAILS if share <= FEW else OPEN


def share_true(cases: Sequence[bool]) -> float:
    """Return the share of true ones."""
    return sum(cases) / len(cases)


def reach(values: Sequence[float]) -> str:
    """Return the median, and from where to where the values go.

    Example:
        >>> reach([0.5, 0.25, 4])
        '0.5 (0.25 to 4)'
    """
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
