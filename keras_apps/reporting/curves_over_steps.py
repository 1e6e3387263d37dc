"""Curves of the arms of a comparison: functions (results, ax) -> ax, and their numbers as rows.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. An optimizer and its
forms with the control variate share a hue; the first form is solid, what has no form is dashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_apps.experiments.optimizer_choice import OptimizerChoice
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.reporting.comparison_results import EARLY, Arm, Point, Results
from keras_apps.reporting.step_axes import labelled, set_log_axis
from tf_gradvar.plots import smoothed

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
# Of the first form with the control variate of a base, the second, ...
FORM_LINES = ("-", (0, (8, 1, 1, 1)), (0, (1, 1)))
BASE_LINE = (0, (3, 1.5))
OTHER_HUES = ("#56B4E9", "#000000", "#999999")

AXIS_LABELS = {
    "training_loss": "training loss (nats)",
    "test_loss": "test loss (nats)",
    "training_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "excess_risk": "excess risk",
}

# What is plotted for each kind of optimizer: name of the value, line, what the legend says.
PREFIX = "between_cluster_variance_"
VARIANCES = (
    (f"{PREFIX}momentum", "--", "one buffer for all"),
    (f"{PREFIX}discover", "-", "a buffer for each"),
    (f"{PREFIX}discover_exact", ":", "left in the step"),
)
PLAIN_VARIANCE = (f"{PREFIX}sgd", "--", "no buffer")


def plot_values(
    results: Results, ax: Axes, *, arms: Sequence[Arm], value: str, seeds: bool = True
) -> Axes:
    """Draw a measured value: the mean over seeds; with `seeds` also each, and one deviation.

    Losses and risks get a log axis.
    """
    for arm in arms:
        curve = arm.curve(value)
        if curve:
            style = {
                "color": _hue(arm.optimizer, results.experiment),
                "linestyle": _line(arm.optimizer, results.experiment),
            }
            _draw_curve(ax, curve, style, arm.optimizer.label, seeds)
    if value.endswith("_accuracy"):
        _cut_off_beginning(ax, results.experiment.steps)
    else:
        set_log_axis(ax)
    return labelled(ax, AXIS_LABELS.get(value, value.replace("_", " ")))


def plot_variances(results: Results, ax: Axes, *, arms: Sequence[Arm]) -> Axes:
    """Draw the between-cluster variance: each seed's points and their smoothed mean.

    For plain gradients sum_k q_k ||grad R_k - grad R||^2; with one buffer or K, sum_k q_k
    ||grad R_k - g^k||^2 as in the paper's figure; and what is left in the corrected gradient.
    """
    for arm in arms:
        color = _hue(arm.optimizer, results.experiment)
        for value, line, text in variances_of(arm):
            curve = arm.curve(value)
            _draw_seeds(ax, curve, color)
            ax.plot(
                [point.step for point in curve],
                smoothed([point.spread.mean for point in curve], 3),
                linewidth=1.8,
                label=f"{arm.optimizer.label}: {text}",
                color=color,
                linestyle=line,
            )
    set_log_axis(ax)
    ax.set_xlim(left=0)
    return labelled(ax, "between-cluster variance\n(squared gradient norm)")


def variances_of(arm: Arm) -> list[tuple[str, str, str]]:
    """Return the variances to plot, as in `VARIANCES`: the buffered ones, else the plain one."""
    present = {name for record in arm.evaluations for name in record}
    found = [entry for entry in VARIANCES if entry[0] in present]
    return found or [PLAIN_VARIANCE] * (PLAIN_VARIANCE[0] in present)


def numbers_of(arms: Sequence[Arm], values: Sequence[str]) -> list[dict[str, Any]]:
    """Return the numbers of a figure as rows: a step of an optimizer's value in each."""
    return [
        {
            "optimizer": arm.optimizer.name,
            "groups": arm.groups,
            "value": value,
            "step": point.step,
            "mean": point.spread.mean,
            "std": _deviation(point),
            **{f"seed_{index}": number for index, number in enumerate(point.spread.values)},
        }
        for arm in arms
        for value in values
        for point in arm.curve(value)
    ]


def _draw_curve(
    ax: Axes, curve: Sequence[Point], style: dict[str, Any], label: str, seeds: bool
) -> None:
    steps = np.array([point.step for point in curve])
    means = np.array([point.spread.mean for point in curve])
    ax.plot(steps, means, linewidth=1.6, label=label, **style)
    if seeds:
        deviations = np.array([_deviation(point) for point in curve])
        floor = np.minimum(means, np.array([min(point.spread.values) for point in curve]))
        low = np.maximum(means - deviations, 0.9 * floor)
        ax.fill_between(
            steps, low, means + deviations, color=style["color"], alpha=0.15, linewidth=0
        )
        _draw_seeds(ax, curve, style["color"])


def _draw_seeds(ax: Axes, curve: Sequence[Point], color: str) -> None:
    dots = [(point.step, value) for point in curve for value in point.spread.values]
    ax.plot(*zip(*dots, strict=True), ".", color=color, markersize=2.5, alpha=0.35)


def _deviation(point: Point) -> float:
    """Return the deviation over the seeds; 0 for one seed."""
    return point.spread.deviation if len(point.spread.values) > 1 else 0.0


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


def _line(optimizer: OptimizerChoice, experiment: Experiment) -> Any:
    if optimizer.base is None:
        return BASE_LINE
    forms = [other.name for other in experiment.optimizers if other.base == optimizer.base]
    return FORM_LINES[forms.index(optimizer.name) % len(FORM_LINES)]


def _hue(optimizer: OptimizerChoice, experiment: Experiment) -> str:
    family = optimizer.base or optimizer.name
    if family in HUES:
        return HUES[family]
    others = sorted({o.base or o.name for o in experiment.optimizers} - set(HUES))
    return OTHER_HUES[others.index(family) % len(OTHER_HUES)]
