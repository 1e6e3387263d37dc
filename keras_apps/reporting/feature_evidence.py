"""Evidences for claims from a grid of random features models, one row for each reading.

What is said of runs holds where it does in at least 95 % of them, does not where it does in at
most 5 %, and is not decided in between.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any, Literal

from keras_apps.experiments.feature_grid import SG, SG_2B
from keras_apps.reporting.feature_results import (
    EXACT,
    FRESH,
    PUBLISHED,
    Record,
    chosen,
    shares,
    summary,
    values_of,
)
from keras_apps.reporting.verdicts import OfExperiment, Row, reach, share_true, verdict_of

VARIANCE, NORMALIZED = "average_variance", "normalized_variance"
# Part of a record -> how its statistic is called.
READINGS = {EXACT: "exact", PUBLISHED: "published statistic"}


@dataclasses.dataclass(frozen=True)
class Compared(OfExperiment):
    """Evidence: the variance of an estimator against SG-B and SG-2B, in each run.

    Attributes:
        estimator: Its name.
        where: "between" holds where it is at most that of SG-B and at least that of SG-2B; "below"
            where it is below that of SG-2B; "half" where it is half of that of SG-B, within 10 %.
        each: A setting, with a row for each of its values.
    """

    estimator: str
    where: Literal["between", "below", "half"]
    each: str

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return a row for each statistic and value of `each`."""
        return [
            self._row(chosen(results, **{self.each: own}), part, named(self.each, own))
            for part in READINGS
            for own in values_of(results, self.each)
            if self.estimator in results[0][part]
        ]

    def _row(self, records: Sequence[Record], part: str, where: str) -> Row:
        ratios = [
            summary(record, self.estimator, VARIANCE, part=part)
            / summary(record, SG, VARIANCE, part=part)
            for record in records
        ]
        share = share_true([*map(self._is_so, ratios)])
        text = (
            f"{where}: {self.estimator} over {SG} {reach(ratios)}; so in {100 * share:.0f} % of "
            f"{len(records)} runs"
        )
        return Row(self.experiment, READINGS[part], text, verdict_of(share))

    def _is_so(self, ratio: float) -> bool:
        if self.where == "half":
            return abs(ratio - 0.5) < 0.05
        return ratio < 0.5 if self.where == "below" else 0.5 <= ratio <= 1


@dataclasses.dataclass(frozen=True)
class AtTheSameWeights(OfExperiment):
    """Evidence: every exact measurement of an estimator against SG-B, and that right after.

    It holds where a measurement is from one half to one, the variances of SG-2B and SG-B.

    Attributes:
        estimator: Its name.
    """

    estimator: str

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return two rows: along the trajectories, and right after each clustering."""
        rows = []
        for part, words in (
            (EXACT, "every measurement, clusters up to 1 000 steps old"),
            (FRESH, "right after a clustering"),
        ):
            found = [v for record in results for v in shares(record, self.estimator, SG, part)]
            share = share_true([0.5 <= value <= 1 for value in found])
            text = (
                f"{words}: {self.estimator} over {SG} {reach(found)}; between in "
                f"{100 * share:.0f} % of {len(found)}, below {SG_2B} in "
                f"{100 * share_true([value < 0.5 for value in found]):.0f} %"
            )
            rows.append(Row(self.experiment, READINGS[EXACT], text, verdict_of(share)))
        return rows


@dataclasses.dataclass(frozen=True)
class GapStays(OfExperiment):
    """Evidence: an estimator's share of the variance of SG-B does not grow with h_s / N.

    Attributes:
        estimator: Its name.
    """

    estimator: str

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return a row for each share of duplicates."""
        rows = []
        ratios = sorted(values_of(results, "ratio"))
        for duplicates in values_of(results, "duplicates"):
            own = chosen(results, duplicates=duplicates)
            found = [
                [statistics.median(shares(r, self.estimator, SG)) for r in chosen(own, ratio=ratio)]
                for ratio in (ratios[0], ratios[-1])
            ]
            # Runs may be missing where not all are finished.
            grown = share_true([late > early for early, late in zip(*found, strict=False)])
            text = (
                f"{named('duplicates', duplicates)}: {self.estimator} over {SG} "
                f"{reach(found[0])} at h_s / N = {ratios[0]:g}, {reach(found[1])} at {ratios[-1]:g}"
            )
            rows.append(Row(self.experiment, READINGS[EXACT], text, verdict_of(1 - grown)))
        return rows


@dataclasses.dataclass(frozen=True)
class NormalizedAboveOne(OfExperiment):
    """Evidence: whether the largest normalized variance of SG-B in a run is above 1.

    Attributes:
        below: Only for h_s / N below this; the rest should not be above 1.
    """

    below: float

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return two rows for each statistic: below and from there on."""
        return [
            self._row(
                [record for record in results if (record["ratio"] < self.below) == is_below],
                part,
                f"h_s / N {'below' if is_below else 'from'} {self.below:g}",
                expected=is_below,
            )
            for part in READINGS
            for is_below in (True, False)
        ]

    def _row(self, records: Sequence[Record], part: str, where: str, *, expected: bool) -> Row:
        found = [summary(record, SG, NORMALIZED, part=part) for record in records]
        above = share_true([value > 1 for value in found])
        text = f"{where}: {reach(found)}; above 1 in {100 * above:.0f} % of {len(found)} runs"
        verdict = verdict_of(above if expected else 1 - above)
        return Row(self.experiment, READINGS[part], text, verdict)


@dataclasses.dataclass(frozen=True)
class GainVanishes(OfExperiment):
    """Evidence: at the largest h_s / N an estimator has most of the variance of SG-B.

    Attributes:
        estimator: Its name.
        least: The share of SG-B's variance from which on its gain is gone.
        low: The variance below which all estimators should be there.
    """

    estimator: str
    least: float
    low: float

    def rows(self, results: Sequence[Record]) -> list[Row]:
        """Return two rows for each learning rate: the gain, and how low the variances are."""
        largest = max(values_of(results, "ratio"))
        rows = []
        for rate in values_of(results, "learning_rate"):
            own = chosen(results, learning_rate=rate, ratio=largest)
            where = f"{named('learning_rate', rate)}, h_s / N = {largest:g}: "
            values = {
                name: [summary(record, name, VARIANCE) for record in own] for name in own[0][EXACT]
            }
            gains = [a / b for a, b in zip(values[self.estimator], values[SG], strict=True)]
            text = f"{where}{self.estimator} over {SG} {reach(gains)}"
            gone = share_true([gain > self.least for gain in gains])
            rows.append(Row(self.experiment, READINGS[EXACT], text, verdict_of(gone)))
            text = f"{where}variance of {SG} {reach(values[SG])}"
            low = share_true([value < self.low for own in values.values() for value in own])
            rows.append(
                Row(
                    self.experiment, f"{READINGS[EXACT]}, below {self.low:g}", text, verdict_of(low)
                )
            )
        return rows


def named(setting: str, value: Any) -> str:
    """Return a setting with its value, in words."""
    if setting == "duplicates":
        return f"{100 * value:g} % duplicates" if value else "no duplicates"
    return f"{word(setting)} {value:g}"


def word(setting: str) -> str:
    """Return a setting in words."""
    return {
        "ratio": "h_s / N",
        "input_size": "inputs",
        "teacher_features": "teacher's width",
    }.get(setting, setting.replace("_", " "))
