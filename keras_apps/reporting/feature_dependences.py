"""Evidences for claims on what the variance of SG-B depends on in random features models."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from keras_apps.experiments.feature_grid import SG
from keras_apps.reporting.feature_evidence import READINGS, VARIANCE, named, word
from keras_apps.reporting.feature_results import SETTINGS, Record, chosen, summary, values_of
from keras_apps.reporting.verdicts import (
    FAILS,
    HOLDS,
    OfExperiment,
    Row,
    reach,
    share_true,
    verdict_of,
)


@dataclasses.dataclass(frozen=True)
class LowerAt(OfExperiment):
    """Evidence: the variance of SG-B at one value of a setting over that at another one.

    All other settings are the same. It holds where the ratio is below 1.

    Attributes:
        setting: Its name.
        value: Where the variance should be the smaller one.
        other: Where it should be the larger one.
        each: Another setting, with a row for each of its values.
        parts: Of the records, exact and published statistics. Defaults to both.
    """

    setting: str
    value: float
    other: float
    each: str
    parts: tuple[str, ...] = tuple(READINGS)

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return a row for each statistic and value of `each`."""
        return [
            self._row(chosen(results, **{self.each: own}), part, f"{named(self.each, own)}: ")
            for part in self.parts
            for own in values_of(results, self.each)
        ]

    def _row(self, records: Sequence[Record], part: str, where: str) -> Row:
        ratios = list(_ratios(records, self.setting, (self.value, self.other), part))
        text = (
            f"{where}variance at {named(self.setting, self.value)} over that at "
            f"{named(self.setting, self.other)} {reach(ratios)} on {len(ratios)} pairs of runs"
        )
        return Row(
            self.experiment,
            READINGS[part],
            text,
            verdict_of(share_true([r < 1 for r in ratios])),
        )


@dataclasses.dataclass(frozen=True)
class SharesOfVariation(OfExperiment):
    """Evidence: how much of the variation of log variance each setting explains by itself.

    It holds where the setting explains less than a limit.

    Attributes:
        setting: That of which the claim is.
        limit: A share.
    """

    setting: str
    limit: float = 0.05

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return a row for each statistic."""
        rows = []
        for part, reading in READINGS.items():
            parts = explained(results, part)
            text = ", ".join(
                f"{word(name)} {100 * own:.2g} %" for name, own in parts.items() if own
            )
            verdict = HOLDS if parts[self.setting] < self.limit else FAILS
            rows.append(Row(self.experiment, reading, f"explained by {text}", verdict))
        return rows


def explained(records: Sequence[Record], part: str) -> dict[str, float]:
    """Return setting -> the share of the variation of log variance between its values.

    That is the sum of squares between the means over the values, over the whole sum of squares.

    Args:
        records: At least two runs of a full grid.
        part: Of the records; the maximum of SG-B over the last 70 % of a run is taken.
    """
    logs = {record["run"]: math.log(summary(record, SG, VARIANCE, part=part)) for record in records}
    mean = statistics.fmean(logs.values())
    whole = sum((value - mean) ** 2 for value in logs.values())
    found = {}
    for name in SETTINGS:
        if name == "examples":  # Follows from the ratio.
            continue
        between = 0.0
        for value in values_of(records, name):
            own = [logs[record["run"]] for record in chosen(records, **{name: value})]
            between += len(own) * (statistics.fmean(own) - mean) ** 2
        found[name] = between / whole
    return found


def _ratios(
    records: Sequence[Record], setting: str, values: tuple[float, float], part: str
) -> Iterator[float]:
    """Yield the maximum at the first value over that at the second one, all else the same."""
    others = [name for name in SETTINGS if name not in (setting, "examples")]
    by_key: dict[tuple[Any, ...], dict[float, float]] = {}
    for record in records:
        key = tuple(record[name] for name in others)
        by_key.setdefault(key, {})[record[setting]] = summary(record, SG, VARIANCE, part=part)
    for found in by_key.values():
        if all(value in found for value in values):
            yield found[values[0]] / found[values[1]]
