"""Final training loss of the arms of a comparison, a row for each: (arms, ax) -> ax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatter

from keras_apps.reporting.comparison_results import Arm, Results

VALUE = "training_loss"
# By what kind of clusters the batches are made of; None are those of the problem.
COLOURS = {None: "#0072B2", "classes": "#0072B2", "random": "#777777", "gradients": "#D55E00"}
BEST_RIVAL = "best without a buffer for each cluster"


def sorted_arms(results: Results, groups: int) -> list[Arm]:
    """Return the arms with finite final losses, the lowest mean first."""
    arms = [arm for arm in results.arms if arm.groups == groups and np.isfinite(_mean(arm))]
    return sorted(arms, key=_mean)


def plot_finals(ax: Axes, *, arms: Sequence[Arm]) -> Axes:
    """Draw the seeds as dots and their mean as a bar, in the order of the arms from above.

    Dots are filled for optimizers with a buffer for each cluster. A line marks the mean of the best
    one without.
    """
    for row, arm in enumerate(arms):
        colour = COLOURS[arm.optimizer.clusters]
        losses = arm.final[VALUE].values
        face = colour if arm.optimizer.base is not None else "white"
        ax.plot(
            losses, [row] * len(losses), "o", color=colour, markerfacecolor=face, markersize=4.5
        )
        ax.plot([_mean(arm)], [row], "|", color=colour, markersize=13, markeredgewidth=1.6)
    rivals = [_mean(arm) for arm in arms if arm.optimizer.base is None]
    compares = 0 < len(rivals) < len(arms)
    if compares:
        ax.axvline(min(rivals), color="#333333", linewidth=0.9, linestyle=(0, (3, 2)), zorder=0.5)
    ax.set_yticks(range(len(arms)), [arm.optimizer.label for arm in arms])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.set_xscale("log")
    ax.set_xlabel("final training loss (nats)")
    _plain_ticks(ax)
    return _legend(ax, arms, compares)


def numbers_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the numbers of the figure as rows, one for each arm."""
    return [
        {"optimizer": arm.optimizer.name, "groups": arm.groups, "mean": _mean(arm)}
        | {f"seed_{index}": loss for index, loss in enumerate(arm.final[VALUE].values)}
        for arm in arms
    ]


def _mean(arm: Arm) -> float:
    return arm.final[VALUE].mean


def _plain_ticks(ax: Axes) -> None:
    """Write 0.02 and not 2 x 10^-2 where that is short."""
    if ax.get_xlim()[0] >= 1e-4:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.5)))


def _legend(ax: Axes, arms: Sequence[Arm], compares: bool) -> Axes:
    """Name the colours where there are several, and the line."""
    kinds = list(dict.fromkeys(arm.optimizer.clusters for arm in arms))
    handles = [
        Line2D([], [], color=COLOURS[kind], marker="o", linestyle="", label=kind or "classes")
        for kind in kinds
        if len(kinds) > 1
    ]
    if compares:
        line = Line2D([], [], color="#333333", linewidth=0.9, linestyle=(0, (3, 2)))
        line.set_label(BEST_RIVAL)
        handles.append(line)
    if handles:
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8.5)
    return ax
