"""Pictures of a trajectory: functions (records, ax) -> ax, and their numbers as rows.

Points are measurements, a line is their running geometric mean, and the shade around it one
deviation within its window; where a snapshot or clusters are taken anew, a line begins anew. An
estimator has one colour in all pictures, from the palette of Okabe and Ito; ways to draw from the
same clusters differ in their lines, too.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from keras_apps.experiments.trajectory import Trajectory
from keras_apps.reporting import pictures
from keras_apps.reporting.step_axes import labelled, set_log_axis
from tf_gradvar.pages import Picture
from tf_gradvar.plots import PALETTE, estimator_colors, smoothed

Record = dict[str, Any]

# A window has this share of the measurements.
WINDOWS = 12
SHADE = 0.16
REFRESHED = ("SVRG", "GC")
# Beyond it, a normalized variance gets a log axis: with few draws the published statistic of a
# coordinate that is rarely different from 0 is huge.
HIGHEST_LINEAR = 2.0
LABELS = {
    "average_variance": "average variance\n(squared gradient per parameter)",
    "normalized_variance": "normalized variance (no unit)",
}
CAPTIONS = {
    "average_variance": "Average variance of each estimate, at the same weights. Dots are "
    "measurements, a line is their running geometric mean, the shade one deviation in its window.",
    "normalized_variance": "Normalized variance: 0 is no noise, 1 is nothing but noise. Dots, "
    "lines and shades as for the average variance.",
}
OF_THE_PAPER = "The statistic behind the paper's figures, from estimates that are drawn: "
LOSSES = {"training_loss": ("#0072B2", "-"), "test_loss": ("#D55E00", "--")}


def trajectory_pictures(
    trajectory: Trajectory, records: Sequence[Record], folder: Path
) -> list[Picture]:
    """Draw variances, exact and as the paper has them where they were measured, and losses."""
    found = []
    for value, caption in CAPTIONS.items():
        plot = functools.partial(plot_variances, trajectory, records, value)
        numbers = numbers_of(records, value)
        found.append(pictures.draw(f"gradient_{value}", caption, folder, plot, numbers))
    published = published_records(records)
    for value, caption in CAPTIONS.items() if published else ():
        plot = functools.partial(plot_variances, trajectory, published, value)
        caption = f"{OF_THE_PAPER}{caption[0].lower()}{caption[1:]}"
        numbers = numbers_of(published, value)
        found.append(pictures.draw(f"published_{value}", caption, folder, plot, numbers))
    losses = [record for record in records if set(LOSSES) <= set(record)]
    if losses:
        plot = functools.partial(plot_losses, trajectory, losses)
        rows = [
            {key: r.get(key) for key in ("step", "seed", "learning_rate", *LOSSES)} for r in losses
        ]
        found.append(pictures.draw("losses", "Loss along the trajectory.", folder, plot, rows))
    return found


def published_records(records: Sequence[Record]) -> list[Record]:
    """Return records whose estimators have the statistic of the paper's figures."""
    return [r | {"estimators": r["published"]} for r in records if "published" in r]


def plot_variances(trajectory: Trajectory, records: Sequence[Record], value: str, ax: Axes) -> Axes:
    """Draw a variance of each estimator over the steps."""
    colors = colors_of(records)
    for name, color in colors.items():
        points = [
            (r["step"], float(r["estimators"][name][value])) for r in records
            if value in r["estimators"].get(name, {})
        ]  # fmt: skip
        if points:
            anew = trajectory.refreshes if name.startswith(REFRESHED) else ()
            _draw(ax, points, color, _line(name), name, anew)
    if value == "normalized_variance":
        largest = max((max(line.get_ydata()) for line in ax.lines), default=1.0)
        if largest > HIGHEST_LINEAR:
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, 1.03 if largest <= 1.0 else 1.05 * largest)
    else:
        set_log_axis(ax)
    _mark(ax, trajectory)
    return pictures.add_legend(labelled(ax, LABELS[value]), columns=3)


def colors_of(records: Sequence[Record]) -> dict[str, str]:
    """Return a colour for each estimator; those beyond the palette are grey."""
    colors = estimator_colors(records)
    return colors | dict.fromkeys(list(colors)[len(PALETTE) :], "#999999")


def plot_losses(trajectory: Trajectory, records: Sequence[Record], ax: Axes) -> Axes:
    """Draw the losses of training and test examples."""
    for name, (color, line) in LOSSES.items():
        points = [(record["step"], float(record[name])) for record in records]
        _draw(ax, points, color, line, name.replace("_", " "))
    set_log_axis(ax)
    _mark(ax, trajectory)
    return pictures.add_legend(labelled(ax, "loss (nats)"), columns=2)


def numbers_of(records: Sequence[Record], value: str) -> list[dict[str, Any]]:
    """Return the numbers of a picture as rows: an estimator at a step of a seed in each."""
    return [
        {
            "step": record["step"],
            **({"seed": record["seed"]} if "seed" in record else {}),
            "estimator": name,
            value: values[value],
            **(
                {"standard_error": values["standard_error"]}
                if value == "average_variance" and "standard_error" in values
                else {}
            ),
        }
        for record in records
        for name, values in record["estimators"].items()
        if value in values
    ]


def rolling(
    points: Sequence[tuple[int, float]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, the running geometric mean at each, and the factor of one deviation.

    Several values at a step, of several seeds, are averaged first; the deviation counts each.

    Args:
        points: Pairs (step, value); values that are not positive are left out.

    Example:
        >>> steps, means, factors = rolling([(1, 1.0), (2, 4.0), (3, 1.0), (3, 16.0)])
        >>> means.round(3).tolist(), factors.round(3).tolist()
        ([1.0, 2.52, 4.0], [1.0, 3.156, 4.0])
    """
    by_step: dict[int, list[float]] = {}
    for step, value in points:
        if 0 < value < np.inf:
            by_step.setdefault(step, []).append(np.log(value))
    steps = sorted(by_step)
    window = max(3, len(steps) // WINDOWS)
    means = smoothed([float(np.exp(np.mean(by_step[step]))) for step in steps], window)
    factors = []
    for place in range(len(steps)):
        reach = min(window // 2, place, len(steps) - 1 - place)
        near = [v for step in steps[place - reach : place + reach + 1] for v in by_step[step]]
        factors.append(np.exp(np.std(near)))
    return np.array(steps), means, np.array(factors)


def _draw(
    ax: Axes,
    points: Sequence[tuple[int, float]],
    color: str,
    line: Any,
    label: str | None,
    anew: Sequence[int] = (),
) -> None:
    """Draw points, and a line and a shade for each part between two of the steps `anew`."""
    shown = [(step, value) for step, value in points if 0 < value < np.inf]
    style: Mapping[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.5}
    # What is measured at a refresh belongs to the part before it.
    for _, part in itertools.groupby(shown, lambda point: bisect.bisect_left(anew, point[0])):
        own = list(part)
        steps, means, factors = rolling(own)
        ax.plot(*zip(*own, strict=True), ".", color=color, markersize=4, alpha=0.55)
        low, high = means / factors, means * factors
        ax.fill_between(steps, low, high, color=color, alpha=SHADE, linewidth=0)
        ax.plot(steps, means, label=label, **style)
        label = None


def _mark(ax: Axes, trajectory: Trajectory) -> None:
    """Mark refreshes by ticks on the axis, and drops of the learning rate by lines."""
    refreshes = trajectory.refreshes
    ax.plot(
        refreshes,
        np.zeros(len(refreshes)),
        linestyle="",
        marker="|",
        markersize=9,
        markeredgewidth=1.4,
        color="#000000",
        transform=ax.get_xaxis_transform(),
        clip_on=False,
        label="snapshot and clustering",
    )
    for place, drop in enumerate(trajectory.drops):
        label = None if place else "learning rate drops"
        ax.axvline(drop, color="#555555", linestyle=(0, (1, 2)), linewidth=1.2, label=label)
    ax.set_xlim(0, trajectory.steps)


def _line(name: str) -> Any:
    """Return the line of an estimator: solid, but for further ways to draw from the same clusters.

    Example:
        >>> _line("GC-128"), _line("GC-bounded-128")
        ('-', ':')
    """
    lines = {"GC-proportional": "--", "GC-bounded": ":"}
    return lines.get(name.rpartition("-")[0], "-")
