"""The records that figures show, and the numbers that are saved beside them."""

from __future__ import annotations

import csv
import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Record = Mapping[str, Any]
Row = dict[str, Any]

# The numbers behind each axes, for `save`.
_NUMBERS: weakref.WeakKeyDictionary[Axes, list[Row]] = weakref.WeakKeyDictionary()


def save(figure: Figure, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write a figure, and the numbers that it shows as CSV beside it.

    Args:
        figure: With axes that functions of this module drew into.
        path: Of the picture; its ending gives the format. The numbers go to the same name with
            the ending ".csv", with a column "panel" where there are several axes.
        **options: For `Figure.savefig`. Defaults to 160 dots an inch.

    Returns:
        The path of the numbers.

    Raises:
        ValueError: A figure without numbers, or a path that ends in ".csv".

    Example:
        >>> import pathlib, tempfile
        >>> from matplotlib.figure import Figure
        >>> from tf_gradvar.plots import plot_noise_scale
        >>> figure, folder = Figure(), pathlib.Path(tempfile.mkdtemp())
        >>> records = [{"step": 5, "estimators": {"SG-8": {"noise_scale": 30.0}}}]
        >>> _ = plot_noise_scale(records, figure.subplots())
        >>> save(figure, folder / "noise.png").read_text().splitlines()
        ['step,noise_scale', '5,30.0']

    Cost: the drawing of the picture, and a row of CSV for each number.
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


def measurements(records: Iterable[Record]) -> list[Record]:
    """The records of measurements in the order of steps."""
    found = sorted((r for r in records if "estimators" in r), key=lambda r: r["step"])
    if not found:
        raise ValueError(
            "`records` must hold at least one measurement of `GradientVarianceLogger`, they hold "
            "none."
        )
    return found


def finish(ax: Axes, rows: list[Row]) -> Axes:
    """Label the steps, and keep the numbers for `save`."""
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _NUMBERS.setdefault(ax, []).extend(rows)
    return ax
