"""Report on a sweep: the best trial of each optimizer, a table of all, a picture of each field."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from keras_apps.experiments.sweep import Point, Sweep, Varied, number_in
from keras_apps.reporting import curves_over_steps as curves
from keras_apps.reporting import pictures
from keras_apps.reporting.about import about
from keras_apps.reporting.comparison_results import Arm, Results, unit
from keras_apps.reporting.step_axes import set_log_axis
from keras_apps.running.configurations import Loaded
from keras_apps.running.sweep_trials import Trial
from keras_apps.running.workdir import WorkdirError
from tf_gradvar.pages import Gallery, Part, Picture, Report, Section, Table, Text, findings_parts
from tf_gradvar.plots import PALETTE

SHOWN = ("training_loss", "test_accuracy", "test_loss")
MARKERS = "osD^v<>P"
MOST_TICKS = 8


class Row(NamedTuple):
    """What one optimizer reached in a trial.

    Attributes:
        trial: The name of its folder.
        point: What was set.
        arm: What was reached.
    """

    trial: str
    point: Point
    arm: Arm

    def value(self, name: str) -> float:
        """Return the mean over the seeds of a final value; NaN if it has none."""
        return self.arm.final[name].mean if name in self.arm.final else math.nan


def value_of(trial: Trial, choose: str) -> float:
    """Return the mean over optimizers, groups and seeds of a trial's final value.

    Raises:
        WorkdirError: Its runs do not end with such a value.
    """
    arms = Results.of(trial.records, trial.experiment).arms
    finals = [arm.final[choose].mean for arm in arms if choose in arm.final]
    if not finals or len(finals) < len(arms):
        known = sorted({name for arm in arms for name in arm.final})
        raise WorkdirError(
            f"`--choose` must be a value that all runs end with, one of {known}. Received: "
            f"--choose {choose}."
        )
    return statistics.fmean(finals)


def rows_of(trials: Sequence[Trial], sweep: Sweep) -> list[Row]:
    """Return the rows of all trials, the best first; those that diverged last."""
    rows = [
        Row(trial.number, trial.point, arm)
        for trial in trials
        for arm in Results.of(trial.records, trial.experiment).arms
    ]
    sign = -1 if sweep.largest_is_best else 1

    def rank(row: Row) -> tuple[bool, float]:
        value = row.value(sweep.choose)
        return not math.isfinite(value), sign * value

    return sorted(rows, key=rank)


def sweep_report(loaded: Loaded, sweep: Sweep, rows: Sequence[Row], figures: Path) -> Report:
    """Draw the figures and return the report."""
    findings = loaded.conclusions([_finding(sweep, own) for own in _by_arm(rows).values()])
    table = _table(sweep, rows)
    drawn = [_picture(sweep, varied, rows, figures) for varied in sweep.over]
    name = sweep.choose.replace("_", " ")
    how = {
        "grid": "every combination of the values",
        "random": f"{sweep.trials} drawn combinations",
        "tpe": f"{sweep.trials} combinations, drawn where the trials before them were good",
    }[sweep.search]
    note = (
        f"{len(rows)} rows of {len({row.trial for row in rows})} trials: {how}. Compared by the "
        f"final {name}, the mean over the seeds; mean ± standard deviation. A trial's own report "
        "is in trials/NUMBER/report.html, all numbers are in sweep.csv."
    )
    parts: list[Part] = [
        *findings_parts(findings),
        Section("Trials", [table, Text(note, "note")]),
        Section(f"Final {name} over each field", [Gallery(drawn)]),
        about(loaded),
    ]
    title = f"Sweep: {loaded.title}"
    return Report(title, findings, table, parts)


def sweep_rows(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of sweep.csv."""
    for row in rows:
        finals = {
            key: number
            for name, spread in row.arm.final.items()
            for key, number in ((name, spread.mean), (f"{name}_std", spread.deviation))
        }
        yield {
            "trial": row.trial,
            "optimizer": row.arm.optimizer.name,
            "groups": row.arm.groups,
            **row.point,
            "learning_rate": row.arm.chosen.learning_rate,
            "seeds": len(row.arm.seeds),
            "diverged": row.arm.diverged,
            **finals,
        }


def _by_arm(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.arm.optimizer.name, row.arm.groups), []).append(row)
    return dict(sorted(found.items(), key=lambda entry: entry[0][1]))


def _finding(sweep: Sweep, rows: Sequence[Row]) -> str:
    """Return which trial of one optimizer is the best, and whether it is at the end of a range."""
    best = rows[0]
    groups = f"{best.arm.groups} {'group' if best.arm.groups == 1 else 'groups'} in a step"
    setting = ", ".join(f"{_short(key)} {value}" for key, value in best.point.items())
    ends = [text for varied in sweep.over if (text := _at_an_end(varied, best.point, rows))]
    return (
        f"{best.arm.optimizer.label} with {groups}: the best of {len(rows)} trials by final "
        f"{sweep.choose.replace('_', ' ')}, {_spread(best, sweep.choose)}, has "
        f"{setting} (trial {best.trial})." + "".join(f" {text}" for text in ends)
    )


def _at_an_end(varied: Varied, best: Point, rows: Sequence[Row]) -> str:
    numbers = [number_in(row.point[varied.key]) for row in rows]
    if None in numbers or len(set(numbers)) < 2:
        return ""
    tried, own = [n for n in numbers if n is not None], number_in(best[varied.key])
    for end, word in ((min(tried), "smallest"), (max(tried), "largest")):
        if own == end:
            return f"Its {_short(varied.key)} is the {word} tried: a better one may lie beyond."
    return ""


def _table(sweep: Sweep, rows: Sequence[Row]) -> Table:
    names = [name for name in dict.fromkeys((sweep.choose, *SHOWN)) if _has(rows, name)]
    keys = [varied.key for varied in sweep.over]
    arms = list(_by_arm(rows).values())
    cells = [
        [
            row.arm.optimizer.label,
            str(row.arm.groups),
            row.trial,
            *(row.point[key] for key in keys),
            *(_spread(row, name) for name in names),
        ]
        for own in arms
        for row in own
    ]
    headings = [
        "optimizer",
        "C",
        "trial",
        *map(_short, keys),
        *(n.replace("_", " ") for n in names),
    ]
    firsts = itertools.accumulate(len(own) for own in arms)
    return Table(headings, cells, strong={0, *firsts}, only_on_page=("test loss",))


def _has(rows: Sequence[Row], name: str) -> bool:
    return any(name in row.arm.final for row in rows)


def _spread(row: Row, name: str) -> str:
    if name not in row.arm.final:
        return ""
    spread, factor = row.arm.final[name], unit(name)
    sign = " %" if factor == 100 else ""
    if len(spread.values) == 1:
        return f"{factor * spread.mean:.4g}{sign}"
    return f"{factor * spread.mean:.4g} ± {factor * spread.deviation:.2g}{sign}"


def _short(key: str) -> str:
    """Return the last word of a dotted name; that of a learning rate tells whose it is."""
    words = key.split(".")
    return f"learning rate ({words[1]})" if "learning_rates" in words else words[-1]


def _picture(sweep: Sweep, varied: Varied, rows: Sequence[Row], figures: Path) -> Picture:
    name, factor = sweep.choose, unit(sweep.choose)
    numbers = [
        {
            "trial": row.trial,
            "optimizer": row.arm.optimizer.name,
            "groups": row.arm.groups,
            varied.key: row.point[varied.key],
            name: factor * row.value(name),
        }
        for row in rows
    ]
    caption = f"Final {name.replace('_', ' ')} over {varied.key}: a dot is a trial, at its mean."
    plot = functools.partial(_plot, sweep, varied, rows)
    return pictures.draw(f"sweep-{varied.key}", caption, figures, plot, numbers)


def _plot(sweep: Sweep, varied: Varied, rows: Sequence[Row], ax: Axes) -> Axes:
    name, factor = sweep.choose, unit(sweep.choose)
    places, labels = _places([row.point[varied.key] for row in rows])
    for index, ((optimizer, groups), own) in enumerate(_by_arm(rows).items()):
        ax.plot(
            [places[row.point[varied.key]] for row in own],
            [factor * row.value(name) for row in own],
            MARKERS[index % len(MARKERS)],
            color=PALETTE[index % len(PALETTE)],
            markersize=4.5,
            alpha=0.75,
            label=f"{optimizer}, C = {groups}",
        )
    if labels:
        ax.set_xticks(range(len(labels)), labels)
    elif min(places.values()) > 0 and max(places.values()) > 10 * min(places.values()):
        ax.set_xscale("log")
    if not labels and len(places) <= MOST_TICKS:
        ax.set_xticks(list(places.values()), list(places))
        ax.minorticks_off()
    if not sweep.largest_is_best:
        set_log_axis(ax)
    ax.set_xlabel(varied.key)
    ax.set_ylabel(f"final {curves.AXIS_LABELS.get(name, name.replace('_', ' '))}")
    return pictures.add_legend(ax)


def _places(texts: Sequence[str]) -> tuple[Mapping[str, float], list[str]]:
    """Return where values stand on the axis: at their numbers, or side by side with labels."""
    numbers = {text: number_in(text) for text in texts}
    if None not in numbers.values():
        return {text: number for text, number in numbers.items() if number is not None}, []
    labels = sorted(set(texts))
    return {text: float(place) for place, text in enumerate(labels)}, labels
