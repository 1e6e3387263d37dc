"""Pictures of a report: drawn once, written as SVG and PNG, with their numbers beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_gradvar.pages import Picture

FIGURE_INCHES = (5.0, 3.7)
LEGEND_LINE = 0.19  # inches
APPEARANCE = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "keras_apps",
}


def draw(
    name: str,
    caption: str,
    folder: Path,
    plot: Callable[[Any], Any],
    numbers: Sequence[Mapping[str, Any]],
    height: float = FIGURE_INCHES[1],
    panels: int = 1,
) -> Picture:
    """Make a figure and write it as SVG and PNG, with the numbers beside it as CSV.

    The files are `folder`/`name` with their endings; the height is in inches. With several panels
    side by side, `plot` gets their axes as an array.
    """
    picture = drawn(name, caption, plot, height, panels, png=folder / f"{name}.png")
    (folder / f"{name}.svg").write_text(picture.svg, encoding="utf-8")
    write_csv(numbers, folder / f"{name}.csv")
    return picture


def drawn(
    name: str,
    caption: str,
    plot: Callable[[Any], Any],
    height: float = FIGURE_INCHES[1],
    panels: int = 1,
    png: Path | None = None,
) -> Picture:
    """Make a figure as `draw` does, for a page alone: no file is written, unless a PNG is asked."""
    with matplotlib.rc_context(APPEARANCE):
        width = FIGURE_INCHES[0] * (1 + 0.8 * (panels - 1))
        figure = Figure(figsize=(width, height), layout="constrained")
        plot(figure.subplots(1, panels))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # Laid out once, not once for each format.
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        if png is not None:
            figure.savefig(png, dpi=160)
    return Picture(name, buffer.getvalue(), caption)


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows under all the headings that one of them has."""
    rows = list(rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def add_legend(ax: Axes, columns: int = 2) -> Axes:
    """Put the legend below the axes, where it hides nothing."""
    ax.figure.legend(loc="outside lower center", ncols=columns, fontsize=8.5, handlelength=2.6)
    return ax
