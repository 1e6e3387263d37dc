"""Colours, points with their smoothing, and heat maps, shared by all figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from tf_gradvar.plots.numbers import Record, measurements

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def estimator_colors(records: Iterable[Record]) -> dict[str, str]:
    """A colour for each estimator, in the order in which the records name them.

    Args:
        records: Of `GradientVarianceLogger`.

    Returns:
        Estimator's name -> colour.

    Example:
        >>> estimator_colors([{"step": 1, "estimators": {"SG-8": {}, "SVRG-8": {}}}])
        {'SG-8': '#0072B2', 'SVRG-8': '#D55E00'}

    Cost: one walk over the records, and a sort.
    """
    names = dict.fromkeys(name for record in measurements(records) for name in record["estimators"])
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Running geometric mean over a centred window that shrinks, on both sides, at the ends.

    Args:
        values: Positive numbers; others are skipped.
        window: Points in it.

    Returns:
        One number for each value, float64 `[n]`, NaN where the window holds none.

    Example:
        >>> smoothed([1.0, 100.0, 0.0, 4.0], 3)
        array([ 1., 10., 20.,  4.])

    Cost: n times the window.
    """
    logs = [np.log(v) if 0 < v < np.inf else np.nan for v in values]
    result = []
    for place in range(len(logs)):
        # As many neighbours on both sides, or a steep end would be pulled off its points.
        reach = min(window // 2, place, len(logs) - 1 - place)
        near = [v for v in logs[place - reach : place + reach + 1] if not np.isnan(v)]
        result.append(np.exp(np.mean(near)) if near else np.nan)
    return np.array(result)


def draw_points(
    ax: Axes,
    points: Sequence[tuple[int, float]],
    color: str,
    label: str,
    smoothing: int | None,
) -> None:
    """Points, and their smoothing as a line that the legend names."""
    steps = [step for step, _ in points]
    values = np.array([value for _, value in points])
    shown = np.where((values > 0) & np.isfinite(values), values, np.nan)
    window = max(1, len(points) // 30) if smoothing is None else smoothing
    ax.plot(steps, shown, ".", color=color, markersize=4, alpha=0.5)
    ax.plot(steps, smoothed(values.tolist(), window), color=color, linewidth=1.6, label=label)


def draw_heat_map(
    ax: Axes, steps: Sequence[int], bounds: np.ndarray, grid: np.ndarray, label: str
) -> None:
    """A grid [rows, steps] on a log colour scale, with a colour bar in the same figure."""
    visible = np.ma.masked_where(~(np.isfinite(grid) & (grid > 0)), grid)
    norm = LogNorm() if visible.count() else None
    mesh = ax.pcolormesh(_between(steps), bounds, visible, norm=norm, cmap="cividis")
    ax.figure.colorbar(mesh, ax=ax, label=label)


def _between(steps: Sequence[int]) -> np.ndarray:
    """Bounds half way between the steps."""
    places = np.array(steps, float)
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middle = (places[1:] + places[:-1]) / 2
    first, last = 2 * places[0] - middle[0], 2 * places[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])
