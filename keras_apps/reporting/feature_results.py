"""Results of a grid of random features models: summaries of runs, and choices of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, Any]

# The largest and the mean value over the last 70 % of the steps.
LAST_SHARE = 0.7
SUMMARIES: dict[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "mean": statistics.fmean,
}
SETTINGS = (
    "ratio",
    "examples",
    "input_size",
    "teacher_features",
    "duplicates",
    "seed",
    "learning_rate",
)


class Middle(NamedTuple):
    """The middle of some runs, and how far they reach.

    Attributes:
        median: Of their values.
        lowest: Of them.
        highest: Of them.
    """

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Middle:
        """Return that of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def late(record: Record, values: Sequence[float]) -> list[float]:
    """Return the values of the last 70 % of the steps.

    Example:
        >>> late({"steps": [1, 2, 3, 4, 5]}, [9, 8, 7, 6, 5])
        [8, 7, 6, 5]
    """
    steps = record["steps"]
    first = (1 - LAST_SHARE) * steps[-1]
    return [value for step, value in zip(steps, values, strict=True) if step > first]


def summary(record: Record, estimator: str, statistic: str, how: str) -> float:
    """Return the largest or the mean value of a statistic over the last 70 % of a run.

    Args:
        record: Of the run.
        estimator: Its name.
        statistic: "average_variance", or another one of the record.
        how: "max" or "mean".
    """
    return SUMMARIES[how](late(record, record["estimators"][estimator][statistic]))


def chosen(records: Iterable[Record], **settings: Any) -> list[Record]:
    """Return the records with these settings."""
    return [
        record
        for record in records
        if all(record[name] == value for name, value in settings.items())
    ]


def values_of(records: Iterable[Record], name: str) -> list[Any]:
    """Return the different values of a setting, in the order of the records."""
    return list(dict.fromkeys(record[name] for record in records))


def by_ratio(
    records: Iterable[Record], estimator: str, statistic: str, how: str
) -> dict[float, Middle]:
    """Return h_s / N -> the middle of the runs with it, the smallest first."""
    found: dict[float, list[float]] = {}
    for record in records:
        value = summary(record, estimator, statistic, how)
        found.setdefault(record["ratio"], []).append(value)
    return {ratio: Middle.of(found[ratio]) for ratio in sorted(found)}


def shares(record: Record, estimator: str, base: str, part: str = "estimators") -> list[float]:
    """Return the exact variance of an estimator over that of another one.

    Args:
        record: Of a run.
        estimator: The name of the one.
        base: The name of the other.
        part: "estimators" for the measurements of the last 70 % of the steps, "fresh" for those
            right after a snapshot and a clustering.
    """
    own, other = (record[part][name]["average_variance"] for name in (estimator, base))
    pairs = [one / two for one, two in zip(own, other, strict=True)]
    return late(record, pairs) if part == "estimators" else pairs


def summary_rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield the rows of summary.csv: one for each run and estimator."""
    for record in records:
        for name, found in record["estimators"].items():
            yield {
                "run": record["run"],
                **{setting: record[setting] for setting in SETTINGS},
                "training_loss": f"{record['training_loss'][-1]:.4g}",
                "estimator": name,
                **{
                    f"{how}_{statistic}": f"{summary(record, name, statistic, how):.4g}"
                    for statistic in found
                    for how in SUMMARIES
                },
            }
