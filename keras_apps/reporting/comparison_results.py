"""Results of a comparison: its records by optimizer, groups and seed, with their spreads."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.search import Candidate, missing_beside

Record = dict[str, Any]

# Where in a run the early values are taken, as a share of its steps.
EARLY = 1 / 6
# What a record says beside its measured values.
IDENTITY = {"kind", "run", "optimizer", "groups", "seed", "tunes", "step", "steps_per_second"}


class Spread(NamedTuple):
    """Values of the seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the seeds; NaN for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


class Point(NamedTuple):
    """A value at one step."""

    step: int
    spread: Spread


@dataclasses.dataclass(frozen=True)
class Arm:
    """What one optimizer reached with one number of groups in a step.

    Attributes:
        optimizer: The optimizer.
        groups: Groups in a step.
        chosen: The peak learning rate, and the arguments that were searched with it.
        how: They were chosen: "given", or "best of 5", with a note where a better learning rate may
            lie beyond those that were tried.
        seeds: The evaluations of each seed, by step.
        early_step: The evaluated step that is nearest to a sixth of the run.
        early: The values at `early_step`, by name.
        late: Means of the values over the second half of the run, by name.
        final: The values at the last step, by name.
        diverged: How many seeds diverged.
        steps_per_second: Median over segments and seeds, without evaluations.
    """

    optimizer: OptimizerChoice
    groups: int
    chosen: Candidate
    how: str
    seeds: Mapping[int, Sequence[Record]]
    early_step: int
    early: Mapping[str, Spread]
    late: Mapping[str, Spread]
    final: Mapping[str, Spread]
    diverged: int
    steps_per_second: float

    @property
    def evaluations(self) -> list[Record]:
        """Those of all seeds."""
        return [record for own in self.seeds.values() for record in own]

    def curve(self, value: str) -> list[Point]:
        """Return a value over the steps, in the unit in which it is shown."""
        by_step: dict[int, list[float]] = {}
        for record in self.evaluations:
            if value in record:
                by_step.setdefault(record["step"], []).append(unit(value) * record[value])
        return [Point(step, Spread(tuple(values))) for step, values in sorted(by_step.items())]

    def by_seed(self, value: str, step: int | None = None) -> dict[int, float]:
        """Return a value at a step, or at the last one, by seed."""
        return {
            seed: record[value]
            for seed, own in self.seeds.items()
            for record in own
            if value in record and step in (None, record["step"])
        }


@dataclasses.dataclass(frozen=True)
class Pair:
    """What an optimizer with the control variate and its base reached, on the same seeds."""

    name: str
    base: str
    values: tuple[float, ...]
    base_values: tuple[float, ...]

    @classmethod
    def of(cls, arm: Arm, base: Arm, value: str, step: int | None = None) -> Pair:
        """Compare two arms at a step, or at the end."""
        own, other = (one.by_seed(value, step) for one in (arm, base))
        seeds = sorted(set(own) & set(other))
        values = (tuple(side[seed] for seed in seeds) for side in (own, other))
        return cls(arm.optimizer.label, base.optimizer.label, *values)

    @property
    def change(self) -> float:
        """Relative change from the base, the mean over the seeds."""
        pairs = zip(self.values, self.base_values, strict=True)
        return statistics.fmean(own / base - 1 for own, base in pairs)

    @property
    def is_lower(self) -> bool:
        """Whether the value is lower than the base's on every seed."""
        return all(own < base for own, base in zip(self.values, self.base_values, strict=True))

    @property
    def is_higher(self) -> bool:
        """Whether the value is higher than the base's on every seed."""
        return all(own > base for own, base in zip(self.values, self.base_values, strict=True))


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a report on a comparison is made of.

    Attributes:
        experiment: The experiment.
        arms: Those with finished runs, in the order of `groups_per_batch`, then of `optimizers`.
        predictions: What theory says of the optimizers that are the base of another one,
            (name, groups) -> those of `ProblemDefinition.predictor`.
        tuning_runs: How many runs chose learning rates.
        seconds: Of all steps, without evaluations.
    """

    experiment: Experiment
    arms: Sequence[Arm]
    predictions: Mapping[tuple[str, int], Mapping[str, np.ndarray]]
    tuning_runs: int
    seconds: float

    @classmethod
    def of(cls, records: Sequence[Record], experiment: Experiment) -> Results:
        """Compute the results from all the records of the experiment."""
        arms = [
            arm
            for groups in experiment.groups_per_batch
            for optimizer in experiment.optimizers
            if (arm := _arm(records, optimizer, groups, experiment)) is not None
        ]
        predict = experiment.problem.predictor()
        bases = {optimizer.base for optimizer in experiment.optimizers}
        predictions = {
            (arm.optimizer.name, arm.groups): predict(
                arm.optimizer.rule,
                {**arm.optimizer.arguments, **arm.chosen.arguments},
                arm.chosen.learning_rate,
                groups=arm.groups,
                group_size=experiment.group_size,
                steps=experiment.steps,
            )
            for arm in arms
            if arm.optimizer.name in bases
        }
        seconds = (
            experiment.evaluation_interval(record["tunes"]) / record["steps_per_second"]
            for record in records
            if "steps_per_second" in record
        )
        return cls(
            experiment,
            arms,
            predictions,
            sum(1 for record in records if record["kind"] == "finished" and record["tunes"]),
            math.fsum(seconds),
        )

    def arm(self, name: str | None, groups: int) -> Arm | None:
        """Return the arm of an optimizer; None if it has not finished a run."""
        found = (arm for arm in self.arms if (arm.optimizer.name, arm.groups) == (name, groups))
        return next(found, None)

    def pairs_of_arms(self, groups: int | None = None) -> list[tuple[Arm, Arm]]:
        """Return the arms with the control variate, each with that of its base."""
        return [
            (arm, base)
            for arm in self.arms
            if groups in (None, arm.groups)
            and (base := self.arm(arm.optimizer.base, arm.groups)) is not None
        ]

    def pairs(self, groups: int, value: str, step: int | None = None) -> list[Pair]:
        """Compare optimizers with the control variate to their bases, at a step or at the end."""
        pairs = (Pair.of(*arms, value, step) for arms in self.pairs_of_arms(groups))
        return [pair for pair in pairs if pair.values]

    def best_rival(self, arm: Arm) -> Arm | None:
        """Return the best arm without the control variate on the same batches; None without one."""
        rivals = [
            other
            for other in self.arms
            if other.optimizer.base is None
            and (other.groups, other.optimizer.clusters) == (arm.groups, arm.optimizer.clusters)
            and math.isfinite(other.final["training_loss"].mean)
        ]
        return min(rivals, key=lambda other: other.final["training_loss"].mean, default=None)

    def measures(self, value: str) -> bool:
        """Return whether the runs ended with such a value."""
        return any(value in arm.final for arm in self.arms)


def unit(value: str) -> float:
    """Return the factor to the unit in which a value is shown: accuracies are percentages."""
    return 100.0 if value.endswith("_accuracy") else 1.0


def _arm(
    records: Iterable[Record], optimizer: OptimizerChoice, groups: int, experiment: Experiment
) -> Arm | None:
    all_own = [r for r in records if (r["optimizer"], r["groups"]) == (optimizer.name, groups)]
    own = [record for record in all_own if not record["tunes"]]
    ends = [record for record in own if record["kind"] == "finished"]
    if not ends:
        return None
    done = {record["run"] for record in ends}
    evaluations = [r for r in own if r["kind"] == "evaluation" and r["run"] in done]
    by_seed: dict[int, list[Record]] = {}
    for record in sorted(evaluations, key=lambda record: record["step"]):
        by_seed.setdefault(record["seed"], []).append(record)
    seeds = list(by_seed.values())
    steps = sorted({record["step"] for record in evaluations})
    # Without the values before any training.
    taken = [step for step in steps if step] or steps
    early = min(taken, key=lambda step: abs(step - experiment.steps * EARLY))
    half = experiment.steps / 2
    chosen = _candidate(ends[0])
    tuned = [r for r in all_own if r["tunes"] and r["kind"] == "finished"]
    speeds = [record["steps_per_second"] for record in evaluations if "steps_per_second" in record]
    return Arm(
        optimizer=optimizer,
        groups=groups,
        chosen=chosen,
        how=_how_chosen(optimizer, chosen, [_candidate(record) for record in tuned]),
        seeds=by_seed,
        early_step=early,
        early=_spreads([[r for r in seed if r["step"] == early] or seed[-1:] for seed in seeds]),
        late=_spreads([[r for r in seed if r["step"] > half] or seed[-1:] for seed in seeds]),
        final=_spreads([seed[-1:] for seed in seeds]),
        diverged=sum(record["diverged"] for record in ends),
        steps_per_second=statistics.median(speeds) if speeds else math.nan,
    )


def _spreads(seeds: Sequence[Sequence[Record]]) -> dict[str, Spread]:
    """Return the mean over the records of each seed, by the name of the value."""
    names = (name for seed in seeds for record in seed for name in record)
    spreads = {}
    for name in dict.fromkeys(name for name in names if name not in IDENTITY):
        values = [[record[name] for record in seed if name in record] for seed in seeds]
        spreads[name] = Spread(tuple(statistics.fmean(own) for own in values if own))
    return spreads


def _candidate(end: Record) -> Candidate:
    """Return what a finished run was run with."""
    return Candidate(end["learning_rate"], end.get("arguments", {}))


def _how_chosen(optimizer: OptimizerChoice, chosen: Candidate, tried: Sequence[Candidate]) -> str:
    if optimizer.search:
        rate = chosen.learning_rate
        sides = (
            "above" if other.learning_rate > rate else "below"
            for other in missing_beside(chosen, tried)
        )
        return "; ".join([f"best of {len(tried)}", *(f"none tried {side} it" for side in sides)])
    rate, rates = chosen.learning_rate, optimizer.candidates
    if rate not in rates:
        return "given"
    text = f"best of {len(rates)}"
    if rate == min(rates):
        return f"{text}, the smallest"
    return f"{text}, the largest" if rate == max(rates) else text
