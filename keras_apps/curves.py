"""Curves from the records of runs: functions (records, ax) -> ax, and the same numbers as rows.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. An optimizer and its
form with the control variate share a hue; the form with it is solid, all others are dashed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator

from keras_apps.experiment import Experiment, OptimizerChoice
from keras_apps.summary import EARLY
from tf_gradvar.plots import smoothed

Record = dict[str, Any]

HUES = {
    "SGD": "#0072B2",
    "Momentum": "#E69F00",
    "QHM": "#D55E00",
    "IGT": "#CC79A7",
    "Adam": "#009E73",
    "SGDClasses": "#0072B2",
    "SGDGradients": "#D55E00",
    "SGDRandom": "#999999",
}
OTHER_HUES = ("#56B4E9", "#000000", "#999999")

AXIS_LABELS = {
    "training_loss": "training loss (nats)",
    "test_loss": "test loss (nats)",
    "training_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "excess_risk": "excess risk",
}
FACTORS = {"training_accuracy": 100.0, "test_accuracy": 100.0}

# What is plotted for each kind of optimizer: name of the value, line, what the legend says.
VARIANCES = (
    ("momentum", "--", "one buffer for all"),
    ("discover", "-", "a buffer for each"),
    ("discover_exact", ":", "left in the step"),
)


def plot_values(
    records: Sequence[Record],
    ax: Axes,
    *,
    experiment: Experiment,
    optimizers: Sequence[OptimizerChoice],
    groups: int,
    value: str,
    seeds: bool = True,
) -> Axes:
    """Curves of a measured value: each seed's points, their mean, and one deviation around it.

    Args:
        records: Evaluations.
        ax: Axes to draw into.
        experiment: The experiment, for colours.
        optimizers: Which curves to draw.
        groups: With so many groups in a step.
        value: Name of the value. Losses and risks get a log axis.
        seeds: Whether to draw each seed's points and the deviation.

    Returns:
        The axes.
    """
    for optimizer in optimizers:
        curve = curve_of(records, optimizer.name, groups, value)
        if curve:
            _draw_curve(ax, curve, _style(optimizer, experiment), optimizer.label, seeds)
    if value in FACTORS:
        _cut_off_beginning(ax, experiment.steps)
    else:
        _set_log_axis(ax)
    ax.set_xlabel("step")
    ax.set_ylabel(AXIS_LABELS.get(value, value.replace("_", " ")))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


def plot_variances(
    records: Sequence[Record],
    ax: Axes,
    *,
    experiment: Experiment,
    optimizers: Sequence[OptimizerChoice],
    groups: int,
) -> Axes:
    """The between-cluster variance over training: each seed's points and their smoothed mean.

    For plain gradients sum_k q_k ||grad R_k - grad R||^2; with one buffer or K, sum_k q_k
    ||grad R_k - g^k||^2 as in the paper's figure; and what is left in the corrected gradient.

    Args:
        records: Evaluations.
        ax: Axes to draw into.
        experiment: The experiment, for colours.
        optimizers: Those whose variance was measured.
        groups: With so many groups in a step.

    Returns:
        The axes, with a log axis for the variance.
    """
    for optimizer in optimizers:
        for name, line, text in variances_of(records, optimizer.name, groups):
            curve = curve_of(records, optimizer.name, groups, f"between_cluster_variance_{name}")
            style = {"color": _hue(optimizer, experiment), "linestyle": line}
            steps = [point.step for point in curve]
            _draw_seeds(ax, curve, style["color"])
            smooth = smoothed([point.mean for point in curve], 3)
            ax.plot(steps, smooth, linewidth=1.8, label=f"{optimizer.label}: {text}", **style)
    _set_log_axis(ax)
    ax.set_xlim(left=0)
    ax.set_xlabel("step")
    ax.set_ylabel("between-cluster variance\n(squared gradient norm)")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


def variances_of(
    records: Sequence[Record], optimizer: str, groups: int
) -> list[tuple[str, str, str]]:
    """Name, line and text of the variances to plot: the buffered ones, else the plain one."""
    present = {
        name
        for record in records
        if (record["optimizer"], record["groups"]) == (optimizer, groups)
        for name in record
    }
    found = [entry for entry in VARIANCES if f"between_cluster_variance_{entry[0]}" in present]
    if found or "between_cluster_variance_sgd" not in present:
        return found
    return [("sgd", "--", "no buffer")]


@dataclasses.dataclass(frozen=True)
class Point:
    """A value at one step, over the seeds."""

    step: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the seeds; 0 for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


def curve_of(records: Sequence[Record], optimizer: str, groups: int, value: str) -> list[Point]:
    """The points of one curve in the order of the steps, in the unit of its axis."""
    by_step: dict[int, list[float]] = {}
    for record in records:
        own = (record["kind"], record["optimizer"], record["groups"]) == (
            "evaluation",
            optimizer,
            groups,
        )
        if own and not record["tunes"] and value in record:
            by_step.setdefault(record["step"], []).append(FACTORS.get(value, 1.0) * record[value])
    return [Point(step, tuple(values)) for step, values in sorted(by_step.items())]


def numbers_of(
    records: Sequence[Record],
    optimizers: Sequence[OptimizerChoice],
    groups: int,
    values: Sequence[str],
) -> list[dict[str, Any]]:
    """The numbers of a figure as rows: a step of an optimizer's value in each."""
    return [
        {
            "optimizer": optimizer.name,
            "groups": groups,
            "value": value,
            "step": point.step,
            "mean": point.mean,
            "std": point.deviation,
            **{f"seed_{index}": number for index, number in enumerate(point.values)},
        }
        for optimizer in optimizers
        for value in values
        for point in curve_of(records, optimizer.name, groups, value)
    ]


def _draw_curve(
    ax: Axes, curve: Sequence[Point], style: dict[str, Any], label: str, seeds: bool
) -> None:
    steps = np.array([point.step for point in curve])
    means = np.array([point.mean for point in curve])
    ax.plot(steps, means, linewidth=1.6, label=label, **style)
    if seeds:
        deviations = np.array([point.deviation for point in curve])
        floor = np.minimum(means, np.array([min(point.values) for point in curve]))
        low = np.maximum(means - deviations, 0.9 * floor)
        ax.fill_between(
            steps, low, means + deviations, color=style["color"], alpha=0.15, linewidth=0
        )
        _draw_seeds(ax, curve, style["color"])


def _draw_seeds(ax: Axes, curve: Sequence[Point], color: str) -> None:
    dots = [(point.step, value) for point in curve for value in point.values]
    ax.plot(*zip(*dots, strict=True), ".", color=color, markersize=2.5, alpha=0.35)


def _set_log_axis(ax: Axes) -> None:
    """A log axis whose ticks are plain numbers, 1.8 and not 1.8 x 10^0, where these are short."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low < 1e-3 or high >= 1e4:
        return
    # The decades are always labelled, what lies between them where there are few of them.
    between = LogFormatter(minor_thresholds=(1.0, 0.5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(between)


def _cut_off_beginning(ax: Axes, steps: int) -> None:
    """Let the axis start at the lowest mean of a sixth of the run; chance level hides the rest."""
    curves = [line for line in ax.lines if not line.get_label().startswith("_")]
    points = [np.asarray(line.get_xydata()) for line in curves]
    later = [xy[xy[:, 0] >= steps * EARLY, 1] for xy in points]
    found = np.concatenate([values for values in later if len(values)] or [np.empty(0)])
    found = found[np.isfinite(found)]
    if len(found):
        top = ax.get_ylim()[1]
        ax.set_ylim(found.min() - 0.05 * (top - found.min()), top)


def _style(optimizer: OptimizerChoice, experiment: Experiment) -> dict[str, Any]:
    return {
        "color": _hue(optimizer, experiment),
        "linestyle": "-" if optimizer.base is not None else (0, (3, 1.5)),
    }


def _hue(optimizer: OptimizerChoice, experiment: Experiment) -> str:
    family = optimizer.base or optimizer.name
    if family in HUES:
        return HUES[family]
    others = sorted({o.base or o.name for o in experiment.optimizers} - set(HUES))
    return OTHER_HUES[others.index(family) % len(OTHER_HUES)]
