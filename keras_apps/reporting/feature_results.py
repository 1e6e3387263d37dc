"""Results of a grid of random features models: summaries of runs, and choices of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Record = Mapping[str, Any]

# The largest and the mean value over the last 70 % of the steps.
LAST_SHARE = 0.7
# Parts of a record: exact statistics, those of the published figures, and exact ones right after
# a snapshot and a clustering. Their steps are in the entry beside.
EXACT, PUBLISHED, FRESH = "estimators", "drawn", "fresh"
STEPS = {EXACT: "steps", PUBLISHED: "drawn_steps"}
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


def late(steps: Sequence[int], values: Sequence[float]) -> list[float]:
    """Return the values of the last 70 % of the steps.

    Example:
        >>> late([1, 2, 3, 4, 5], [9, 8, 7, 6, 5])
        [8, 7, 6, 5]
    """
    first = (1 - LAST_SHARE) * steps[-1]
    return [value for step, value in zip(steps, values, strict=True) if step > first]


def summary(
    record: Record, estimator: str, statistic: str, how: str = "max", part: str = EXACT
) -> float:
    """Return the largest or the mean value of a statistic over the last 70 % of a run.

    Args:
        record: Of the run.
        estimator: Its name.
        statistic: "average_variance" or "normalized_variance".
        how: "max" (default) or "mean".
        part: `EXACT` (default) or `PUBLISHED`.
    """
    values = record[part][estimator][statistic]
    return SUMMARIES[how](late(record[STEPS[part]], values))


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
    records: Iterable[Record], estimator: str, statistic: str, how: str, part: str = EXACT
) -> dict[float, Middle]:
    """Return h_s / N -> the middle of the runs with it, the smallest first."""
    found: dict[float, list[float]] = {}
    for record in records:
        value = summary(record, estimator, statistic, how, part)
        found.setdefault(record["ratio"], []).append(value)
    return {ratio: Middle.of(found[ratio]) for ratio in sorted(found)}


def shares(record: Record, estimator: str, base: str, part: str = EXACT) -> list[float]:
    """Return the exact variance of an estimator over that of another one.

    Args:
        record: Of a run.
        estimator: The name of the one.
        base: The name of the other.
        part: `EXACT` (default), the measurements of the last 70 % of the steps, or `FRESH`, those
            right after a clustering.
    """
    own, other = (record[part][name]["average_variance"] for name in (estimator, base))
    pairs = [one / two for one, two in zip(own, other, strict=True)]
    return late(record[STEPS[part]], pairs) if part in STEPS else pairs


def summary_rows(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield the rows of summary.csv: one for each run and estimator."""
    for record in records:
        for name, found in record[EXACT].items():
            yield {
                "run": record["run"],
                **{setting: record[setting] for setting in SETTINGS},
                "training_loss": f"{record['training_loss'][-1]:.4g}",
                "estimator": name,
                **{
                    f"{word}{how}_{value}": f"{summary(record, name, value, how, part):.4g}"
                    for part, word in ((EXACT, ""), (PUBLISHED, "published_"))
                    if name in record[part]
                    for value in found
                    for how in SUMMARIES
                },
            }
