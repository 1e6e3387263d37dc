"""Findings of an experiment: sentences computed from its numbers."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from keras_apps.experiment import Experiment
from keras_apps.problems import LeastSquares
from keras_apps.report_figures import predictions
from keras_apps.summary import Row

Record = dict[str, Any]

MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"


@dataclasses.dataclass(frozen=True)
class Pair:
    """An optimizer with the control variate beside its base, on the same batches.

    Attributes:
        name: Of the one with the control variate.
        base: Of the other.
        values: What the one reached, for each seed.
        base_values: What the other reached, for the same seeds.
    """

    name: str
    base: str
    values: tuple[float, ...]
    base_values: tuple[float, ...]

    @property
    def change(self) -> float:
        """Relative change from the base, the mean over the seeds."""
        pairs = zip(self.values, self.base_values, strict=True)
        return statistics.fmean(own / base - 1 for own, base in pairs)

    @property
    def is_lower(self) -> bool:
        """Whether the value is lower than the base's on every seed."""
        return all(own < base for own, base in zip(self.values, self.base_values, strict=True))


def of(rows: Sequence[Row], records: Iterable[Record], experiment: Experiment) -> list[str]:
    """The findings of an experiment.

    Args:
        rows: Its summary.
        records: All its records.
        experiment: The experiment.

    Returns:
        Sentences; none if nothing is finished.
    """
    if not rows:
        return []
    records = [r for r in records if r["kind"] == "evaluation" and not r["tunes"]]
    if isinstance(experiment.problem, LeastSquares):
        return _of_least_squares(rows, experiment)
    return _of_classification(rows, records, experiment)


def changes(
    records: Iterable[Record], experiment: Experiment, early_step: int
) -> tuple[list[str], list[list[str]]]:
    """A table of what the control variate changes in the training loss of each optimizer.

    Args:
        records: All records of the experiment.
        experiment: The experiment.
        early_step: The step of the first of the two columns for each number of groups.

    Returns:
        Headings, and the cells of each row; no rows where nothing is paired.
    """
    records = [r for r in records if r["kind"] == "evaluation" and not r["tunes"]]
    headings = ["change of training loss"]
    cells: dict[str, list[str]] = {}
    for groups in experiment.groups_per_batch:
        for step, name in ((early_step, f"step {early_step}"), (None, "end")):
            found = pairs(records, experiment, groups, "training_loss", step)
            headings.append(f"C = {groups}, {name}")
            for pair in found:
                row = cells.setdefault(pair.name, [f"{pair.name} against {pair.base}"])
                mark = "*" if pair.is_lower and len(pair.values) > 1 else ""
                row.append(f"{_signed(pair.change)}{mark}")
    return headings, list(cells.values())


def variance_left(records: Iterable[Record], experiment: Experiment) -> list[str]:
    """How much of the between-cluster variance the buffers leave, at the same weights.

    Args:
        records: All records of the experiment.
        experiment: The experiment.

    Returns:
        A sentence for each optimizer with buffers and number of groups.
    """
    shares: dict[tuple[str, int], list[float]] = {}
    for record in records:
        left = record.get("between_cluster_variance_discover_exact")
        if left is not None and record["step"] > experiment.steps / 2:
            share = left / record["between_cluster_variance_sgd"]
            shares.setdefault((record["optimizer"], record["groups"]), []).append(share)
    return [
        f"{name} with {_groups(groups)} in a step: over the second half of training its buffers "
        f"leave {_percent(statistics.median(values))} of the between-cluster variance that the "
        "plain gradient has at the same weights (median)."
        for (name, groups), values in shares.items()
    ]


def pairs(
    records: Sequence[Record], experiment: Experiment, groups: int, value: str, step: int | None
) -> list[Pair]:
    """Every optimizer with the control variate against its base, seed by seed.

    Args:
        records: Evaluations.
        experiment: The experiment.
        groups: In a step.
        value: Name of the value that is compared.
        step: At which step; None for the last of each run.

    Returns:
        The pairs that both have records.
    """
    found = []
    labels = {optimizer.name: optimizer.label for optimizer in experiment.optimizers}
    for optimizer in experiment.optimizers:
        if optimizer.base is None:
            continue
        own = _by_seed(records, optimizer.name, groups, value, step)
        base = _by_seed(records, optimizer.base, groups, value, step)
        seeds = sorted(set(own) & set(base))
        if seeds:
            values = tuple(own[seed] for seed in seeds), tuple(base[seed] for seed in seeds)
            base_label = labels.get(optimizer.base, optimizer.base)
            found.append(Pair(optimizer.label, base_label, *values))
    return found


def _of_classification(
    rows: Sequence[Row], records: Sequence[Record], experiment: Experiment
) -> list[str]:
    finals = {
        groups: found
        for groups in experiment.groups_per_batch
        if (found := pairs(records, experiment, groups, "training_loss", None))
    }
    best = min(rows, key=lambda row: row.final["training_loss"].mean)
    return [
        *_verdict(finals),
        *_medians(finals),
        *_test_accuracy(rows),
        f"Lowest final training loss of all: {best.optimizer.label} with {_groups(best.groups)} in "
        f"a step, {best.final['training_loss'].mean:.3g}.",
    ]


def _verdict(finals: dict[int, list[Pair]]) -> list[str]:
    """Whether it pays: where the loss is lower on every seed in at least half of the pairs."""
    if not finals:
        return []
    counts = [
        f"{sum(pair.is_lower for pair in found)} of {_optimizers(len(found))} with "
        f"{_groups(groups)}"
        for groups, found in finals.items()
    ]
    if any(len(pair.values) == 1 for found in finals.values() for pair in found):
        return [
            f"With the control variate the final training loss is lower for {_list(counts)}. "
            "That is one seed, which shows nothing of the spread between seeds, so no verdict is "
            "given."
        ]
    share = {
        groups: statistics.fmean(pair.is_lower for pair in found)
        for groups, found in finals.items()
    }
    few, many = min(share), max(share)
    if share[few] < 0.5 and share[many] < 0.5:
        verdict = "The control variate brings no reliable gain here."
    elif few == many:
        verdict = "The control variate pays here."
    elif share[few] < 0.5:
        verdict = "The control variate pays only where a step mixes the clusters."
    elif share[many] < share[few]:
        verdict = (
            "The control variate pays where a step sees few of the clusters, and less where a step "
            "mixes them."
        )
    else:
        verdict = "The control variate pays here, also where a step mixes the clusters."
    return [f"{verdict} It lowers the final training loss on every seed for {_list(counts)}."]


def _medians(finals: dict[int, list[Pair]]) -> list[str]:
    texts = []
    for groups, found in finals.items():
        base, own = (
            statistics.median(statistics.fmean(values) for values in sides)
            for sides in ([p.base_values for p in found], [p.values for p in found])
        )
        texts.append(f"{base:.3g} and {own:.3g} with {_groups(groups)} in a step")
    if not texts:
        return []
    return [
        "Final training loss without and with the control variate, median over the optimizers: "
        f"{_list(texts)}."
    ]


def _test_accuracy(rows: Sequence[Row]) -> list[str]:
    by_key = {(row.optimizer.name, row.groups): row for row in rows}
    differences, spreads = [], []
    for row in rows:
        base = by_key.get((row.optimizer.base or "", row.groups))
        if base is not None:
            own, other = row.final["test_accuracy"], base.final["test_accuracy"]
            differences.append(100 * (own.mean - other.mean))
            spreads += [100 * own.deviation, 100 * other.deviation]
    if not differences:
        return []
    ends = list(dict.fromkeys(map(_points, (min(differences), max(differences)))))
    sentence = (
        f"Test accuracy changes by {' to '.join(ends)} points from a base to its form with the "
        "control variate."
    )
    if rows[0].final["test_accuracy"].count > 1:
        sentence += f" Its standard deviation over seeds is up to {max(spreads):.2f} points."
    return [sentence]


def _of_least_squares(rows: Sequence[Row], experiment: Experiment) -> list[str]:
    ratios, details = [], []
    by_key = {(row.optimizer.name, row.groups): row for row in rows}
    for row in rows:
        base = by_key.get((row.optimizer.base or "", row.groups))
        if base is None:
            continue
        own, other = (r.late["excess_risk"].mean for r in (row, base))
        predicted = predictions(experiment, base.optimizer, row.groups)
        both, within = (
            statistics.fmean(risks[experiment.steps // 2 + 1 :]) for risks in predicted.values()
        )
        ratio = f"1/{other / own:.0f}" if own < other else f"{own / other:.2g} times"
        ratios.append(f"{ratio} of that of {base.optimizer.label}")
        details.append(
            f"{base.optimizer.label} stalls at an excess risk of {other:.3g}, {other / both:.2f} "
            "of the prediction with both parts of the variance; "
            f"{row.optimizer.label} at {own:.3g}, {own / within:.2f} of the prediction with the "
            "part within clusters alone."
        )
    if not ratios:
        return []
    return [
        "At the same learning rate, the steady excess risk with the control variate is "
        f"{_list(ratios)}.",
        *details,
    ]


def _by_seed(
    records: Sequence[Record], name: str, groups: int, value: str, step: int | None
) -> dict[int, float]:
    own = [r for r in records if (r["optimizer"], r["groups"]) == (name, groups) and value in r]
    if step is not None:
        return {record["seed"]: record[value] for record in own if record["step"] == step}
    own.sort(key=lambda record: record["step"])
    return {record["seed"]: record[value] for record in own}


def _list(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _optimizers(count: int) -> str:
    return "1 optimizer" if count == 1 else f"{count} optimizers"


def _groups(count: int) -> str:
    return "one group" if count == 1 else f"{count} groups"


def _signed(share: float) -> str:
    return f"{100 * share:+.0f}{PERCENT}".replace("-", MINUS)


def _points(difference: float) -> str:
    return f"{difference:+.2f}".replace("-", MINUS)


def _percent(share: float) -> str:
    return f"{100 * share:.2g}{PERCENT}"
