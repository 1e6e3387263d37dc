"""Heat maps over training: the layers, and the norms of the examples."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from tf_gradvar.plots.drawing import draw_heat_map, estimator_colors
from tf_gradvar.plots.numbers import Record, finish, measurements


def plot_layers(
    records: Iterable[Record],
    ax: Axes,
    *,
    estimator: str | None = None,
    value: str = "average_variance",
) -> Axes:
    """A heat map of a variance: layers down, training along.

    Args:
        records: Of `GradientVarianceLogger(..., per_layer=True)`.
        ax: Axes to draw into; a colour bar joins its figure.
        estimator: The name of the one whose variance is drawn. Defaults to the first.
        value: "average_variance" (default), "normalized_variance", "noise_scale" ...

    Returns:
        The axes, the first layer on top.

    Raises:
        ValueError: No record, or none with the layers of the estimator.

    Example:
        >>> from matplotlib.figure import Figure
        >>> layers = {"first": {"average_variance": 1.0}, "last": {"average_variance": 2.0}}
        >>> records = [{"step": 5, "estimators": {"SG-8": {"per_layer": layers}}}]
        >>> ax = plot_layers(records, Figure().subplots())
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['first', 'last']

    Cost: a cell for each layer and record.
    """
    records = measurements(records)
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
    draw_heat_map(ax, steps, np.arange(len(layers) + 1) - 0.5, grid, value.replace("_", " "))
    ax.set_yticks(range(len(layers)), layers)
    ax.invert_yaxis()
    ax.set_title(name)
    rows = [
        {"step": step, "estimator": name, "layer": layer, value: float(number)}
        for layer, numbers in zip(layers, grid, strict=True)
        for step, number in zip(steps, numbers, strict=True)
    ]
    return finish(ax, rows)


def plot_norm_spectrum(records: Iterable[Record], ax: Axes) -> Axes:
    """Histograms of the per-example gradient norms, one column for each measurement.

    Args:
        records: Of `GradientVarianceLogger` with method "exact" or "subset".
        ax: Axes to draw into; a colour bar joins its figure.

    Returns:
        The axes; the share is of all examples, and those with a norm of 0 are in no bin.

    Raises:
        ValueError: No record, or none with norms.

    Example:
        >>> from matplotlib.figure import Figure
        >>> histogram = {"log10_norm": [-1.0, -0.875], "examples": [3, 1], "zeros": [0]}
        >>> records = [{"step": 5, "estimators": {}, "norm_histogram": histogram}]
        >>> plot_norm_spectrum(records, Figure().subplots()).get_yscale()
        'log'

    Cost: a cell for each bin of the norms and record.
    """
    found = [r for r in measurements(records) if r.get("norm_histogram", {}).get("log10_norm")]
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
    draw_heat_map(ax, steps, bounds, grid, "share of the examples")
    ax.set_yscale("log")
    ax.set_ylabel("norm of an example's gradient")
    rows = [
        {"step": step, "norm_from": low, "norm_to": high, "share": float(share)}
        for step, shares in zip(steps, grid.T, strict=True)
        for low, high, share in zip(bounds, bounds[1:], shares, strict=False)
        if share
    ]
    return finish(ax, rows)


def _layer_value(record: Record, name: str, layer: str, value: str) -> float:
    layers = record["estimators"][name]["per_layer"]
    return float(layers.get(layer, {}).get(value, np.nan))
