"""Final training loss of the arms of a comparison, a row for each: (arms, ax) -> ax."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from keras_apps.reporting.comparison_results import Arm, Results

VALUE = "training_loss"
# By the clusters that the batches are made of; None are those of the problem.
COLOURS = {
    None: "#0072B2",
    "classes": "#0072B2",
    "labels": "#009E73",
    "augmentations": "#CC79A7",
    "random": "#777777",
    "gradients": "#D55E00",
}
DASHES = (0, (3, 2))
BEST_RIVAL = "best without a buffer for each cluster"


def sorted_arms(results: Results, groups: int) -> list[Arm]:
    """Return the arms with finite final losses by their clusters, the lowest mean first."""
    arms = [arm for arm in results.arms if arm.groups == groups and np.isfinite(_mean(arm))]
    kinds = list(COLOURS)
    return sorted(arms, key=lambda arm: (kinds.index(arm.optimizer.clusters), _mean(arm)))


def plot_finals(ax: Axes, *, arms: Sequence[Arm]) -> Axes:
    """Draw the seeds as dots and their mean as a bar, in the order of the arms from above.

    Dots are filled for optimizers with a buffer for each cluster. A line through the rows of the
    same batches marks the mean of the best one without.
    """
    for row, arm in enumerate(arms):
        colour = COLOURS[arm.optimizer.clusters]
        losses = arm.final[VALUE].values
        face = colour if arm.optimizer.base is not None else "white"
        ax.plot(
            losses, [row] * len(losses), "o", color=colour, markerfacecolor=face, markersize=4.5
        )
        ax.plot([_mean(arm)], [row], "|", color=colour, markersize=13, markeredgewidth=1.6)
    first = 0
    for kind, same in itertools.groupby(arms, key=lambda arm: arm.optimizer.clusters):
        block = list(same)
        rows = [first - 0.5, first + len(block) - 0.5]
        rivals = [_mean(arm) for arm in block if arm.optimizer.base is None]
        if 0 < len(rivals) < len(block):
            best = min(rivals)
            ax.plot([best] * 2, rows, color=COLOURS[kind], linewidth=1, linestyle=DASHES, zorder=1)
        if first:
            ax.axhline(rows[0], color="#999999", linewidth=0.8)
        first += len(block)
    ax.set_yticks(range(len(arms)), [arm.optimizer.label for arm in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.set_xlabel("final training loss (nats)")
    _set_log_axis(ax)
    line = Line2D([], [], color="#333333", linewidth=1, linestyle=DASHES, label=BEST_RIVAL)
    ax.figure.legend(handles=[line], loc="outside lower center", fontsize=8.5)
    return ax


def numbers_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the numbers of the figure as rows, one for each arm."""
    return [
        {"optimizer": arm.optimizer.name, "groups": arm.groups, "mean": _mean(arm)}
        | {f"seed_{index}": loss for index, loss in enumerate(arm.final[VALUE].values)}
        for arm in arms
    ]


def _mean(arm: Arm) -> float:
    return arm.final[VALUE].mean


def _set_log_axis(ax: Axes) -> None:
    """Set a log axis; where it is short, with 0.02 and 0.05 at its ticks, too."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.xaxis.set_minor_formatter(NullFormatter())
    if low >= 1e-4 and high / low < 300:
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
