"""From records to the numbers of the table: values, their spread, and where they come from."""

from __future__ import annotations

import csv
import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from keras_apps.experiment import Experiment, OptimizerChoice

Record = dict[str, Any]

# Where in a run the early values are taken, as a share of its steps.
EARLY = 1 / 6


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes:
        mean: Over the seeds.
        deviation: Sample standard deviation over the seeds; NaN for one seed.
        count: The number of seeds.
    """

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Mean and deviation of some values, at least one."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), deviation, len(values))


@dataclasses.dataclass(frozen=True)
class Row:
    """What one optimizer reached with one number of groups in a step.

    Attributes:
        optimizer: The optimizer.
        groups: Groups in a step.
        learning_rate: The peak learning rate.
        chosen: How it was chosen: "given", or "best of 5", with a note where it is the smallest or
            largest of them, so that a better one may lie beyond.
        final: Measured values at the last step, by name.
        late: Means of the values over the second half of the run, by name.
        early: The values at `early_step`, by name.
        early_step: The evaluated step that is nearest to a sixth of the run.
        diverged: How many seeds diverged.
        steps_per_second: Median over segments and seeds, without evaluations.
    """

    optimizer: OptimizerChoice
    groups: int
    learning_rate: float
    chosen: str
    final: dict[str, Spread]
    late: dict[str, Spread]
    early: dict[str, Spread]
    early_step: int
    diverged: int
    steps_per_second: float


def summarise(records: Iterable[Record], experiment: Experiment) -> list[Row]:
    """One row for each optimizer and number of groups that has finished runs.

    Args:
        records: All the records of the experiment.
        experiment: The experiment.

    Returns:
        Rows in the order of `groups_per_batch`, then of `optimizers`.
    """
    records = [record for record in records if not record["tunes"]]
    rows = []
    for groups in experiment.groups_per_batch:
        for optimizer in experiment.optimizers:
            own = [r for r in records if (r["optimizer"], r["groups"]) == (optimizer.name, groups)]
            ends = [record for record in own if record["kind"] == "finished"]
            if ends:
                done = {record["run"] for record in ends}
                curves = [r for r in own if r["kind"] == "evaluation" and r["run"] in done]
                rows.append(_row(optimizer, groups, ends, curves, experiment))
    return rows


def _row(
    optimizer: OptimizerChoice,
    groups: int,
    ends: list[Record],
    curves: list[Record],
    experiment: Experiment,
) -> Row:
    by_seed: dict[int, list[Record]] = {}
    for record in sorted(curves, key=lambda record: record["step"]):
        by_seed.setdefault(record["seed"], []).append(record)
    seeds = list(by_seed.values())
    steps = sorted({record["step"] for record in curves})
    # Without the values before any training.
    taken = [step for step in steps if step] or steps
    early = min(taken, key=lambda step: abs(step - experiment.steps * EARLY))
    late = [[r for r in seed if r["step"] > experiment.steps / 2] or seed[-1:] for seed in seeds]
    rate = ends[0]["learning_rate"]
    speeds = [record["steps_per_second"] for record in curves if "steps_per_second" in record]
    return Row(
        optimizer=optimizer,
        groups=groups,
        learning_rate=rate,
        chosen=_how_chosen(optimizer, rate),
        early_step=early,
        early=_spreads([[r for r in seed if r["step"] == early] or seed[-1:] for seed in seeds]),
        late=_spreads(late),
        final=_spreads([seed[-1:] for seed in seeds]),
        diverged=sum(record["diverged"] for record in ends),
        steps_per_second=statistics.median(speeds) if speeds else math.nan,
    )


def _spreads(seeds: list[list[Record]]) -> dict[str, Spread]:
    """Mean over the records of each seed, then mean and deviation over the seeds."""
    spreads = {}
    for name in value_names(record for seed in seeds for record in seed):
        values = [[record[name] for record in seed if name in record] for seed in seeds]
        spreads[name] = Spread.of([statistics.fmean(own) for own in values if own])
    return spreads


def value_names(records: Iterable[Record]) -> list[str]:
    """The measured values that the records hold, as against what identifies a record."""
    identity = {"kind", "run", "optimizer", "groups", "seed", "tunes", "step", "steps_per_second"}
    names = (name for record in records for name in record if name not in identity)
    return list(dict.fromkeys(names))


def _how_chosen(optimizer: OptimizerChoice, rate: float) -> str:
    if rate not in optimizer.candidates:
        return "given"
    text = f"best of {len(optimizer.candidates)}"
    if rate == min(optimizer.candidates):
        return f"{text}, the smallest"
    return f"{text}, the largest" if rate == max(optimizer.candidates) else text


# Columns of the table: heading, unit factor, digits, and where the number is in a row.
COLUMNS = (
    ("training loss, end", "final", "training_loss", 1.0, ".4f"),
    ("test accuracy, %", "final", "test_accuracy", 100.0, ".2f"),
    ("training loss, step {step}", "early", "training_loss", 1.0, ".3f"),
    ("test loss, end", "final", "test_loss", 1.0, ".4f"),
    ("steady excess risk", "late", "excess_risk", 1.0, ".3g"),
)


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The summary as text.

    Args:
        rows: What `summarise` returned, at least one.

    Returns:
        Headings, and the cells of each row.
    """
    columns = [column for column in COLUMNS if any(column[2] in row.final for row in rows)]
    values_of = [column[0].format(step=rows[0].early_step) for column in columns]
    headings = ["C", "optimizer", *values_of, "learning rate", "rate chosen", "steps/s"]
    cells = []
    for row in rows:
        values = [
            format_spread(getattr(row, when)[name], factor, digits)
            for _, when, name, factor, digits in columns
        ]
        note = f" ({row.diverged} diverged)" if row.diverged else ""
        cells.append(
            [
                str(row.groups),
                row.optimizer.label + note,
                *values,
                f"{row.learning_rate:g}",
                row.chosen,
                f"{row.steps_per_second:.0f}",
            ]
        )
    return headings, cells


def format_spread(spread: Spread, factor: float = 1.0, digits: str = ".3g") -> str:
    """Mean ± deviation, or the mean alone for one seed."""
    mean = format(factor * spread.mean, digits)
    if spread.count == 1:
        return mean
    return f"{mean} ± {format(factor * spread.deviation, digits)}"


# What the table in the terminal leaves out, so that it fits into 80 columns.
ONLY_ON_THE_PAGE = {"rate chosen", "test loss, end", "steps/s"}


def rich_table(rows: Sequence[Row], title: str) -> Table:
    """The summary for the terminal, narrow enough for 80 columns."""
    headings, cells = table(rows)
    shown = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    kept = [i for i, heading in enumerate(headings) if heading not in ONLY_ON_THE_PAGE]
    for index in kept:
        # Headings break between words, so that the numbers need not.
        texts = [*headings[index].split(), *(row[index] for row in cells)]
        width = max(map(len, texts))
        shown.add_column(headings[index], justify="left" if index == 1 else "right", width=width)
    for index, row in enumerate(cells):
        if index and row[0] != cells[index - 1][0]:
            shown.add_row()
        shown.add_row(*(row[column] for column in kept))
    return shown


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the summary with all digits, a column for each number.

    Args:
        rows: What `summarise` returned.
        path: The file.
    """
    lines = []
    for row in rows:
        line: dict[str, Any] = {
            "groups": row.groups,
            "optimizer": row.optimizer.name,
            "learning_rate": row.learning_rate,
            "rate_chosen": row.chosen,
            "seeds_diverged": row.diverged,
            "steps_per_second": row.steps_per_second,
        }
        for when in ("early", "late", "final"):
            for name, spread in getattr(row, when).items():
                line[f"{when}_{name}_mean"] = spread.mean
                line[f"{when}_{name}_std"] = spread.deviation
        lines.append(line)
    headings = list(dict.fromkeys(key for line in lines for key in line))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, headings)
        writer.writeheader()
        writer.writerows(lines)
