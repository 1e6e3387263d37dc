"""Evidences for claims from the records of `keras_apps.study`: one row for each trajectory.

A claim about measurements holds where it does in at least 95 % of them, does not where it does in
at most 5 %, and is not decided in between. The beginning and the end of a trajectory are the first
and the last fifth of its measurements.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Literal

from keras_apps.experiments.variance_study import Study
from keras_apps.reporting.trajectory_values import (
    NORMALIZED,
    VARIANCE,
    Record,
    Trajectories,
    ends,
    rank_correlation,
    swings,
)
from keras_apps.reporting.verdicts import (
    FAILS,
    HOLDS,
    NOT_HERE,
    NOT_RUN,
    OPEN,
    Found,
    OfExperiment,
    Row,
    reach,
    share_true,
    verdict_of,
)

# Measurements over which the speed of convergence is taken.
WINDOW = 5


@dataclasses.dataclass(frozen=True)
class OfTrajectories(OfExperiment):
    """Evidence from the trajectories of one study."""

    def rows(self, results: Trajectories) -> list[Row]:
        """Return a row for each trajectory."""
        rows = []
        for seed, records in results.by_seed.items():
            text, verdict = self.judged(results, records)
            several = f"seed {seed}: " if len(results.by_seed) > 1 else ""
            method = records[0].get("method", "exact")
            last = records[-1]["step"]
            far = "" if last == results.study.trajectory.steps else f" (to step {last})"
            rows.append(Row(self.experiment, method, f"{several}{text}{far}", verdict))
        return rows

    @abc.abstractmethod
    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return what a trajectory says, and the verdict."""


@dataclasses.dataclass(frozen=True)
class Against(OfTrajectories):
    """Evidence: the variance of one estimator over that of another one, at the same weights.

    Attributes:
        estimator: "SG-2B", "SVRG" or "GC".
        base: The other one.
        lowest: Where the claim begins.
        highest: Where it ends; from the lowest to the highest it holds.
    """

    estimator: str
    base: str
    lowest: float
    highest: float

    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return the ratios, and in how many measurements they are as claimed."""
        ratios = results.ratios(records, self.estimator, self.base)
        if not ratios:
            return f"{self.estimator} was not measured", NOT_RUN
        share = share_true([self.lowest <= ratio <= self.highest for ratio in ratios])
        text = (
            f"{self.estimator} over {self.base} {reach(ratios)}; so in {100 * share:.0f} % of "
            f"{len(ratios)} measurements"
        )
        return text, verdict_of(share)


@dataclasses.dataclass(frozen=True)
class Trend(OfTrajectories):
    """Evidence: where a value of an estimator goes from the beginning to the end.

    Attributes:
        estimator: As above.
        value: "average_variance" or "normalized_variance".
        expected: What the claim says.
        least: The value that the end should be below, for what should be low; None: any.
    """

    estimator: str
    value: str
    expected: Literal["falls", "rises"]
    least: float | None = None

    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return the medians of both ends."""
        values = results.values(records, self.estimator, self.value)
        if len(values) < 2:
            return f"{self.estimator} was not measured", NOT_RUN
        first, last = (statistics.median(part) for part in ends(values))
        agrees = last < first if self.expected == "falls" else last > first
        text = (
            f"{self.value.replace('_', ' ')} of {self.estimator} from {first:.3g} in the first "
            f"fifth to {last:.3g} in the last ({last / first:.3g} times)"
        )
        if self.least is not None:
            text += f"; claimed to end below {self.least:g}"
            agrees = agrees and last < self.least
        return text, HOLDS if agrees else FAILS


@dataclasses.dataclass(frozen=True)
class AfterDrops(OfTrajectories):
    """Evidence: a value of SG-B after a drop of the learning rate over that before.

    Attributes:
        value: As above.
    """

    value: str

    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return the ratio of the medians of the measurements on both sides of each drop."""
        values = results.values(records, "SG-B", self.value)
        steps = [record["step"] for record in records]
        edges = [0, *_drops(results.study), steps[-1]]
        parts = [
            [v for step, v in zip(steps, values, strict=True) if low < step <= high]
            for low, high in itertools.pairwise(edges)
        ]
        pairs = [
            (statistics.median(before[-WINDOW:]), statistics.median(after))
            for before, after in itertools.pairwise(parts)
            if before and after
        ]
        if not pairs:
            return "no drop was reached", NOT_RUN
        ratios = [after / before for before, after in pairs]
        shown = ", ".join(f"{ratio:.3g}" for ratio in ratios)
        text = f"{self.value.replace('_', ' ')} of SG-B after over before each drop: {shown}"
        agrees = [ratio > 1 for ratio in ratios]
        return text, HOLDS if all(agrees) else OPEN if any(agrees) else FAILS


@dataclasses.dataclass(frozen=True)
class LowestAtTheEnd(OfTrajectories):
    """Evidence: an estimator has the least variance once the training loss is near zero.

    Attributes:
        estimator: As above.
        loss: What is near zero.
    """

    estimator: str
    loss: float = 0.005

    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return its variance over that of SG-B where the loss is below and above the limit."""
        own, base = (results.values(records, n, VARIANCE) for n in (self.estimator, "SG-B"))
        losses = [record.get("training_loss", math.nan) for record in records]
        low = [a / b for a, b, loss in zip(own, base, losses, strict=True) if loss < self.loss]
        if not low:
            least = min(losses) if losses else math.nan
            return f"the training loss stays above {self.loss:g} (lowest {least:.3g})", NOT_RUN
        others = [
            min(record["estimators"][name][VARIANCE] for name in record["estimators"])
            for record in records
        ]
        share = share_true(
            [
                one <= other
                for one, other, loss in zip(own, others, losses, strict=True)
                if loss < self.loss
            ]
        )
        text = (
            f"with a training loss below {self.loss:g}, {self.estimator} over SG-B {reach(low)}; "
            f"the lowest of all in {100 * share:.0f} % of {len(low)} measurements"
        )
        return text, verdict_of(share)


@dataclasses.dataclass(frozen=True)
class FollowsSpeed(OfTrajectories):
    """Evidence: which statistic goes with the speed of convergence along a trajectory.

    The speed is the fall of the logarithm of the training loss over the next measurements; the
    correlations are Spearman's. The claim holds where the normalized variance is the more strongly
    correlated one, and larger where the training is slower.
    """

    def judged(self, results: Trajectories, records: Sequence[Record]) -> tuple[str, str]:
        """Return both correlations."""
        losses = [record.get("training_loss", math.nan) for record in records]
        speeds = [
            math.log(now / later)
            for now, later in zip(losses, losses[WINDOW:], strict=False)
            if now > 0 and later > 0
        ]
        if len(speeds) < WINDOW or not all(map(math.isfinite, speeds)):
            return "too few measurements of the training loss", NOT_RUN
        found = {
            value: rank_correlation(results.values(records, "SG-B", value)[: len(speeds)], speeds)
            for value in (NORMALIZED, VARIANCE)
        }
        text = "rank correlation with the speed: " + ", ".join(
            f"{value.replace('_', ' ')} {number:.2f}" for value, number in found.items()
        )
        better = found[NORMALIZED] < 0 and abs(found[NORMALIZED]) > abs(found[VARIANCE])
        return text, HOLDS if better else FAILS


@dataclasses.dataclass(frozen=True)
class OfTwoStudies(abc.ABC):
    """Evidence: one study beside another one.

    Attributes:
        experiment: The first one.
        other: The second one.
    """

    experiment: str
    other: str

    def __call__(self, found: Found) -> list[Row]:
        """Return one row."""
        name = f"{self.experiment}, {self.other}"
        first, second = found.get(self.experiment), found.get(self.other)
        if first is None or second is None:
            return [Row(name, "", "", NOT_RUN)]
        return [Row(name, first.records[0].get("method", "exact"), *self.judged(first, second))]

    @abc.abstractmethod
    def judged(self, first: Trajectories, second: Trajectories) -> tuple[str, str]:
        """Return what the two say, and the verdict."""


# What goes up and comes back by less is no fluctuation.
FLUCTUATION = 1.5


@dataclasses.dataclass(frozen=True)
class Calmer(OfTwoStudies):
    """Evidence: the variance of GC fluctuates in the first study, and less in the second one.

    A fluctuation goes up and comes back under one clustering; its size is by how many times the
    variance, in units of SG-B's, lies above a measurement before and one after. Of each study the
    largest one counts. That of the second study must be less than half as far above 1, or below 1.5
    where fluctuations are said to end. The claim fails where it is not smaller, and cannot be
    tested where the first study has none of 1.5 times.

    Attributes:
        ends: Whether they end.
    """

    ends: bool = False

    def judged(self, first: Trajectories, second: Trajectories) -> tuple[str, str]:
        """Return the largest fluctuations."""
        before, after = (max(swings(part)) for part in (first, second))
        text = f"largest fluctuation of GC over SG-B {before:.3g} times, {after:.3g} times"
        if before < FLUCTUATION:
            return f"{text}: there is nothing to calm", NOT_HERE
        share = (after - 1) / (before - 1)
        calm = after < FLUCTUATION if self.ends else share < 0.5
        return text, HOLDS if calm else FAILS if share >= 1 else OPEN


@dataclasses.dataclass(frozen=True)
class GainsMore(OfTwoStudies):
    """Evidence: the variance of GC over SG-B is smaller in the first study than in the second one.

    They are compared at the same steps of the same seeds.
    """

    def judged(self, first: Trajectories, second: Trajectories) -> tuple[str, str]:
        """Return the ratios, and in how many measurements the first is smaller."""
        own, other = _gc_over_sg(first), _gc_over_sg(second)
        both = own.keys() & other.keys()
        share = share_true([own[key] < other[key] for key in both])
        text = (
            f"GC over SG-B {reach([own[key] for key in both])}, "
            f"{reach([other[key] for key in both])}; smaller in {100 * share:.0f} % of "
            f"{len(both)} measurements"
        )
        return text, verdict_of(share)


def _gc_over_sg(part: Trajectories) -> dict[tuple[int, int], float]:
    """Return the ratio of the variances by seed and step."""
    return {
        (seed, record["step"]): ratio
        for seed, records in part.by_seed.items()
        for record, ratio in zip(records, part.ratios(records, "GC", "SG-B"), strict=True)
    }


def _drops(study: Study) -> tuple[int, ...]:
    return study.trajectory.drops
