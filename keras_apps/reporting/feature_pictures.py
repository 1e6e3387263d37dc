"""Pictures of a grid of random features models: variances over h_s / N."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from keras_apps.experiments.feature_grid import SG
from keras_apps.reporting import pictures
from keras_apps.reporting.feature_results import (
    EXACT,
    PUBLISHED,
    Record,
    by_ratio,
    chosen,
    values_of,
)
from tf_gradvar.pages import Picture
from tf_gradvar.plots import PALETTE

MARKERS = "osD^v<"
# Lines side by side keep their error bars apart.
SHIFT = 1.025
HEIGHT = 4.1
# An axis of normalized variances begins at 0 where one is below this.
MIDDLE = 0.5
# It ends here at the latest: single values of the published statistic go far beyond.
HIGHEST = 3.0
LABELS = {
    "average_variance": "average variance\n(squared gradient per parameter)",
    "normalized_variance": "normalized variance (no unit)",
}
SETTINGS = ("learning_rate", "input_size", "teacher_features")


class Line(NamedTuple):
    """One line of a picture.

    Attributes:
        label: In the legend.
        records: Of its runs.
        estimator: What is shown of them.
        part: `EXACT` for the exact statistic, `PUBLISHED` for that of the published figures.
    """

    label: str
    records: Sequence[Record]
    estimator: str = SG
    part: str = EXACT


class Panel(NamedTuple):
    """One panel of a picture: a statistic, and its "max" or "mean" over the end of a run."""

    statistic: str
    how: str


def of_estimators(records: Sequence[Record], how: str, folder: Path) -> Iterator[Picture]:
    """Draw all estimators, one picture for each learning rate and share of duplicates."""
    for rate, share in _pairs(records, "learning_rate", "duplicates"):
        own = chosen(records, learning_rate=rate, duplicates=share)
        copies = f", duplicates fill {100 * share:g} % of the data" if share else ""
        caption = f"{_word(how)} of the last 70 % of the steps, learning rate {rate:g}{copies}."
        name = f"estimators-{how}-lr{rate:g}" + (f"-{100 * share:g}percent" if share else "")
        yield _draw(name, caption, folder, _estimator_lines(own), _both(how))


def of_single_choices(records: Sequence[Record], how: str, folder: Path) -> Iterator[Picture]:
    """Draw all estimators, one picture for each learning rate and choice of both widths."""
    for rate, inputs, features in itertools.product(*(values_of(records, n) for n in SETTINGS)):
        own = chosen(records, learning_rate=rate, input_size=inputs, teacher_features=features)
        caption = (
            f"{_word(how)} of the last 70 % of the steps, learning rate {rate:g}, {inputs:,} "
            f"inputs, teacher of {features:,} features."
        )
        name = f"single-{how}-lr{rate:g}-inputs{inputs}-teacher{features}"
        yield _draw(name, caption, folder, _estimator_lines(own), _both(how))


def of_learning_rates(records: Sequence[Record], how: str, folder: Path) -> Picture:
    """Draw SG-B at all learning rates."""
    lines = [
        Line(f"learning rate {rate:g}", chosen(records, learning_rate=rate))
        for rate in values_of(records, "learning_rate")
    ]
    caption = f"{_word(how)} of the last 70 % of the steps, {SG}."
    return _draw(f"learning_rates-{how}", caption, folder, lines, _both(how))


def of_widths(records: Sequence[Record], how: str, folder: Path) -> Iterator[Picture]:
    """Draw SG-B for all choices of both widths, one picture for each learning rate."""
    for rate in values_of(records, "learning_rate"):
        lines = [
            Line(
                f"{inputs:,} inputs, teacher of {features:,}",
                chosen(records, learning_rate=rate, input_size=inputs, teacher_features=features),
            )
            for inputs, features in _pairs(records, "input_size", "teacher_features")
        ]
        caption = f"{_word(how)} of the last 70 % of the steps, {SG}, learning rate {rate:g}."
        yield _draw(f"widths-{how}-lr{rate:g}", caption, folder, lines, _both(how))


def of_statistics(records: Sequence[Record], folder: Path) -> Picture:
    """Draw the exact normalized variance of SG-B beside the statistic of the published figures."""
    lines = [
        Line(f"{word}, learning rate {rate:g}", chosen(records, learning_rate=rate), SG, part)
        for part, word in ((EXACT, "exact"), (PUBLISHED, "published statistic"))
        for rate in values_of(records, "learning_rate")
    ]
    panels = [Panel("normalized_variance", how) for how in ("max", "mean")]
    caption = f"Normalized variance of {SG}: maximum and mean of the last 70 % of the steps."
    return _draw("normalized-exact-and-published", caption, folder, lines, panels)


def _pairs(records: Sequence[Record], *names: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(tuple(record[name] for name in names) for record in records))


def _estimator_lines(records: Sequence[Record]) -> list[Line]:
    return [Line(name, records, name) for name in records[0][EXACT]]


def _both(how: str) -> list[Panel]:
    return [Panel(statistic, how) for statistic in LABELS]


def _word(how: str) -> str:
    return {"max": "Maximum", "mean": "Mean"}[how]


def _draw(
    name: str, caption: str, folder: Path, lines: Sequence[Line], panels: Sequence[Panel]
) -> Picture:
    numbers = [
        {
            "line": line.label,
            "statistic": panel.statistic,
            "how": panel.how,
            "ratio": ratio,
            "median": middle.median,
            "lowest": middle.lowest,
            "highest": middle.highest,
        }
        for panel in panels
        for line in lines
        for ratio, middle in _middles(line, panel).items()
    ]
    how = (
        " Points are medians, bars reach over all runs, above the axis where it ends. The line at "
        "1 is pure noise."
    )
    plot = functools.partial(_plot, lines, panels)
    return pictures.draw(name, caption + how, folder, plot, numbers, HEIGHT, len(panels))


def _middles(line: Line, panel: Panel) -> dict[float, Any]:
    return by_ratio(line.records, line.estimator, panel.statistic, panel.how, line.part)


def _plot(lines: Sequence[Line], panels: Sequence[Panel], axes: Sequence[Axes]) -> None:
    for ax, panel in zip(axes, panels, strict=True):
        for index, line in enumerate(lines):
            _add_line(ax, line, panel, index, len(lines))
        _set_axes(ax, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=8.5, handlelength=2.6
    )


def _add_line(ax: Axes, line: Line, panel: Panel, index: int, count: int) -> None:
    found = _middles(line, panel)
    shift = SHIFT ** (index - (count - 1) / 2)
    ratios, middles = [shift * ratio for ratio in found], list(found.values())
    below = [one.median - one.lowest for one in middles]
    above = [one.highest - one.median for one in middles]
    ax.errorbar(
        ratios,
        [one.median for one in middles],
        (below, above),
        fmt=f"{MARKERS[index % len(MARKERS)]}{'--' if line.part == PUBLISHED else '-'}",
        color=PALETTE[index % len(PALETTE)],
        markersize=4,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        label=line.label,
    )


def _set_axes(ax: Axes, panel: Panel) -> None:
    ax.set_xscale("log")
    ticks = [0.1, 0.5, 1, 2, 5, 10]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("$h_s / N$, random features of the student over examples")
    ax.set_ylabel(f"{panel.how} {LABELS[panel.statistic]}")
    if panel.statistic == "average_variance":
        ax.set_yscale("log")
    else:
        low, high = ax.get_ylim()
        ax.set_ylim(0 if low < MIDDLE else low, min(max(1.01, high), HIGHEST))
        ax.axhline(1, color="#666666", linewidth=0.8, linestyle=":")
