"""Figures from the records of `GradientVarianceLogger`: functions (records, ax) -> ax.

    records = RecordFile("run/records.jsonl").read()        # or logger.history
    figure = matplotlib.figure.Figure(layout="constrained")
    plot_variance(records, figure.subplots())
    save(figure, "variance.png")                            # and variance.csv with its numbers

No function changes matplotlib's global state. Measured values are points, their smoothing is a
line. Variances have log axes; values that such an axis cannot show (0 at an SVRG snapshot, NaN)
are left out of the picture and stay in the CSV file. Every estimator has one colour in all
figures of the same records, from the palette of Okabe and Ito, which colour-blind readers can tell
apart. Needs matplotlib (`pip install tf_gradvar[plots]`).
"""

from __future__ import annotations

import csv
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Record = Mapping[str, Any]
Row = dict[str, Any]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_LABELS = {
    "average_variance": "average variance\n(squared gradient per parameter)",
    "normalized_variance": "normalized variance (no unit)",
    "standard_error": "standard error of the average variance\n(squared gradient per parameter)",
}

# The numbers behind each axes, for `save`.
_NUMBERS: weakref.WeakKeyDictionary[Axes, list[Row]] = weakref.WeakKeyDictionary()


def plot_variance(
    records: Iterable[Record],
    ax: Axes,
    *,
    value: str = "average_variance",
    estimators: Sequence[str] | None = None,
    smoothing: int | None = None,
    colors: Mapping[str, str] | None = None,
) -> Axes:
    """A variance over training, the estimators compared.

    Args:
        records: of `GradientVarianceLogger`.
        ax: axes to draw into.
        value: "average_variance" (default), "normalized_variance" or another value that the
            records have for each estimator. Where there is a standard error, the average
            variance has bars of one.
        estimators: names to draw. Default: all.
        smoothing: points in the running geometric mean that the line shows. Default: a thirtieth
            of the points; 1 draws the line through the points.
        colors: estimator's name -> colour. Default: those of `estimator_colors`.

    Returns:
        The axes.

    Raises:
        ValueError: no record, or none with such a value.

    Example:
        >>> from matplotlib.figure import Figure
        >>> records = [{"step": s, "estimators": {"SG-8": {"average_variance": 1.0 / s}}}
        ...            for s in (1, 10, 100)]
        >>> ax = plot_variance(records, Figure().subplots())
        >>> ax.get_yscale(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('log', ['SG-8'])
    """
    records = _measurements(records)
    colors = colors or estimator_colors(records)
    rows: list[Row] = []
    for name in estimators or list(estimator_colors(records)):
        found = [r for r in records if value in r["estimators"].get(name, {})]
        points = [(r["step"], float(r["estimators"][name][value])) for r in found]
        if not points:
            continue
        errors = [r["estimators"][name].get("standard_error") for r in found]
        _draw_points(ax, points, colors.get(name, "#999999"), name, smoothing)
        if value == "average_variance" and None not in errors:
            steps, values = zip(*points, strict=True)
            style = {"fmt": "none", "elinewidth": 0.8, "alpha": 0.5}
            ax.errorbar(steps, values, errors, ecolor=colors.get(name, "#999999"), **style)
        rows += [
            {"step": step, "estimator": name, value: number, "standard_error": error}
            for (step, number), error in zip(points, errors, strict=True)
        ]
    if not rows:
        raise ValueError(
            f"`records` must hold {value!r} of the estimators {estimators or 'at all'}, they do "
            "not. Measure it, or draw another value."
        )
    ax.set_yscale("log")
    ax.set_ylabel(_LABELS.get(value, value.replace("_", " ")))
    ax.legend(frameon=False)
    return _finish(ax, rows)


def plot_layers(
    records: Iterable[Record],
    ax: Axes,
    *,
    estimator: str | None = None,
    value: str = "average_variance",
) -> Axes:
    """A heat map of a variance: layers down, training along.

    Args:
        records: of `GradientVarianceLogger(..., per_layer=True)`.
        ax: axes to draw into; a colour bar joins its figure.
        estimator: whose variance. Default: the first.
        value: "average_variance" (default), "normalized_variance", "noise_scale" ...

    Returns:
        The axes, the first layer on top.

    Raises:
        ValueError: no record, or none with the layers of the estimator.

    Example:
        >>> from matplotlib.figure import Figure
        >>> layers = {"first": {"average_variance": 1.0}, "last": {"average_variance": 2.0}}
        >>> records = [{"step": 5, "estimators": {"SG-8": {"per_layer": layers}}}]
        >>> ax = plot_layers(records, Figure().subplots())
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['first', 'last']
    """
    records = _measurements(records)
    name = estimator or next(iter(estimator_colors(records)))
    found = [r for r in records if r["estimators"].get(name, {}).get("per_layer")]
    if not found:
        raise ValueError(
            f"`records` must hold the layers of the estimator {name!r}, they do not. Measure with "
            "`per_layer=True`."
        )
    layers = list(found[0]["estimators"][name]["per_layer"])
    grid = np.array(
        [[_layer_value(r, name, layer, value) for r in found] for layer in layers], float
    )
    steps = [r["step"] for r in found]
    _draw_heat_map(ax, steps, np.arange(len(layers) + 1) - 0.5, grid, value.replace("_", " "))
    ax.set_yticks(range(len(layers)), layers)
    ax.invert_yaxis()
    ax.set_title(name)
    rows = [
        {"step": step, "estimator": name, "layer": layer, value: float(number)}
        for layer, numbers in zip(layers, grid, strict=True)
        for step, number in zip(steps, numbers, strict=True)
    ]
    return _finish(ax, rows)


def plot_noise_scale(
    records: Iterable[Record],
    ax: Axes,
    *,
    smoothing: int | None = None,
    color: str = "#000000",
) -> Axes:
    """The gradient noise scale V[g_i] / ||m||^2 over training.

    It is a property of the data and the weights, the same for all estimators: that of the first
    one that has it is drawn.

    Args:
        records: of `GradientVarianceLogger`.
        ax: axes to draw into.
        smoothing: as for `plot_variance`.
        color: of points and line.

    Returns:
        The axes.

    Raises:
        ValueError: no record, or none with a noise scale.

    Example:
        >>> from matplotlib.figure import Figure
        >>> records = [{"step": 5, "estimators": {"SG-8": {"noise_scale": 30.0}}}]
        >>> plot_noise_scale(records, Figure().subplots()).get_xlabel()
        'step'
    """
    points = []
    for record in _measurements(records):
        scales = (values.get("noise_scale") for values in record["estimators"].values())
        scale = next((s for s in scales if s is not None), None)
        if scale is not None:
            points.append((record["step"], float(scale)))
    if not points:
        raise ValueError("`records` must hold a noise scale, they do not. Measure a `MiniBatch`.")
    _draw_points(ax, points, color, "noise scale", smoothing)
    ax.set_yscale("log")
    ax.set_ylabel("gradient noise scale (examples)")
    return _finish(ax, [{"step": step, "noise_scale": scale} for step, scale in points])


def plot_norm_spectrum(records: Iterable[Record], ax: Axes) -> Axes:
    """Histograms of the per-example gradient norms, one column for each measurement.

    Args:
        records: of `GradientVarianceLogger` with method "exact" or "subset".
        ax: axes to draw into; a colour bar joins its figure.

    Returns:
        The axes; the share is of all examples, and those with a norm of 0 are in no bin.

    Raises:
        ValueError: no record, or none with norms.

    Example:
        >>> from matplotlib.figure import Figure
        >>> histogram = {"log10_norm": [-1.0, -0.875], "examples": [3, 1], "zeros": [0]}
        >>> records = [{"step": 5, "estimators": {}, "norm_histogram": histogram}]
        >>> plot_norm_spectrum(records, Figure().subplots()).get_yscale()
        'log'
    """
    found = [r for r in _measurements(records) if r.get("norm_histogram", {}).get("log10_norm")]
    if not found:
        raise ValueError(
            "`records` must hold per-example norms, they do not. Measure with method='exact' or "
            "'subset'."
        )
    every = sorted({edge for r in found for edge in r["norm_histogram"]["log10_norm"]})
    width = 1 / 8  # of a bin, in decades, as `norm_histogram` makes them
    edges = np.arange(every[0], every[-1] + width / 2, width)
    grid = np.zeros((len(edges), len(found)))
    for column, record in enumerate(found):
        histogram = record["norm_histogram"]
        total = sum(histogram["examples"]) + sum(histogram["zeros"])
        places = np.rint((np.array(histogram["log10_norm"]) - edges[0]) / width).astype(int)
        grid[places, column] = np.array(histogram["examples"]) / total
    steps = [r["step"] for r in found]
    bounds = 10.0 ** np.append(edges, edges[-1] + width)
    _draw_heat_map(ax, steps, bounds, grid, "share of the examples")
    ax.set_yscale("log")
    ax.set_ylabel("norm of an example's gradient")
    rows = [
        {"step": step, "norm_from": low, "norm_to": high, "share": float(share)}
        for step, shares in zip(steps, grid.T, strict=True)
        for low, high, share in zip(bounds, bounds[1:], shares, strict=False)
        if share
    ]
    return _finish(ax, rows)


def estimator_colors(records: Iterable[Record]) -> dict[str, str]:
    """A colour for each estimator, in the order in which the records name them.

    Args:
        records: of `GradientVarianceLogger`.

    Returns:
        Estimator's name -> colour.

    Example:
        >>> estimator_colors([{"step": 1, "estimators": {"SG-8": {}, "SVRG-8": {}}}])
        {'SG-8': '#0072B2', 'SVRG-8': '#D55E00'}
    """
    names = dict.fromkeys(
        name for record in _measurements(records) for name in record["estimators"]
    )
    return {name: PALETTE[place % len(PALETTE)] for place, name in enumerate(names)}


def save(figure: Figure, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write a figure, and the numbers that it shows as CSV beside it.

    Args:
        figure: with axes that functions of this module drew into.
        path: of the picture; its ending gives the format. The numbers go to the same name with
            the ending ".csv", with a column "panel" where there are several axes.
        **options: for `Figure.savefig`. Default: 160 dots an inch.

    Returns:
        The path of the numbers.

    Raises:
        ValueError: a figure without numbers, or a path that ends in ".csv".

    Example:
        >>> import pathlib, tempfile
        >>> from matplotlib.figure import Figure
        >>> figure, folder = Figure(), pathlib.Path(tempfile.mkdtemp())
        >>> records = [{"step": 5, "estimators": {"SG-8": {"noise_scale": 30.0}}}]
        >>> _ = plot_noise_scale(records, figure.subplots())
        >>> save(figure, folder / "noise.png").read_text().splitlines()
        ['step,noise_scale', '5,30.0']
    """
    path = Path(path)
    panels = [_NUMBERS[ax] for ax in figure.axes if ax in _NUMBERS]
    if not panels or path.suffix == ".csv":
        raise ValueError(
            "`figure` must hold a plot of `tf_gradvar.plots`, and `path` the name of a picture. "
            f"Received a figure with {len(panels)} such plots, and {path.name!r}."
        )
    rows = [
        ({"panel": number} if len(panels) > 1 else {}) | row
        for number, panel in enumerate(panels)
        for row in panel
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, **{"dpi": 160, **options})
    numbers = path.with_suffix(".csv")
    with open(numbers, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return numbers


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """Running geometric mean over a centred window that shrinks at the ends.

    Args:
        values: positive numbers; others are skipped.
        window: points in it.

    Returns:
        One number for each value, NaN where the window holds none.

    Example:
        >>> smoothed([1.0, 100.0, 0.0, 4.0], 3)
        array([10., 10., 20.,  4.])
    """
    logs = [np.log(v) if 0 < v < np.inf else np.nan for v in values]
    reach = window // 2
    result = []
    for place in range(len(logs)):
        near = [v for v in logs[max(0, place - reach) : place + reach + 1] if not np.isnan(v)]
        result.append(np.exp(np.mean(near)) if near else np.nan)
    return np.array(result)


def _measurements(records: Iterable[Record]) -> list[Record]:
    """The records of measurements in the order of steps."""
    found = sorted((r for r in records if "estimators" in r), key=lambda r: r["step"])
    if not found:
        raise ValueError(
            "`records` must hold at least one measurement of `GradientVarianceLogger`, they hold "
            "none."
        )
    return found


def _layer_value(record: Record, name: str, layer: str, value: str) -> float:
    layers = record["estimators"][name]["per_layer"]
    return float(layers.get(layer, {}).get(value, np.nan))


def _draw_points(
    ax: Axes,
    points: Sequence[tuple[int, float]],
    color: str,
    label: str,
    smoothing: int | None,
) -> None:
    steps = [step for step, _ in points]
    values = np.array([value for _, value in points])
    shown = np.where((values > 0) & np.isfinite(values), values, np.nan)
    window = max(1, len(points) // 30) if smoothing is None else smoothing
    ax.plot(steps, shown, ".", color=color, markersize=4, alpha=0.5)
    ax.plot(steps, smoothed(values.tolist(), window), color=color, linewidth=1.6, label=label)


def _draw_heat_map(
    ax: Axes, steps: Sequence[int], bounds: np.ndarray, grid: np.ndarray, label: str
) -> None:
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


def _finish(ax: Axes, rows: list[Row]) -> Axes:
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _NUMBERS.setdefault(ax, []).extend(rows)
    return ax
