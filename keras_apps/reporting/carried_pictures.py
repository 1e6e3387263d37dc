"""Pictures, a table and sentences of buffers that were carried along at the same weights."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from keras_apps.experiments import carried_buffers as carried
from keras_apps.experiments.carried_buffers import value_name
from keras_apps.reporting import curves_over_steps as curves
from keras_apps.reporting import pictures
from keras_apps.reporting.comparison_results import EARLY, Arm, Results
from keras_apps.reporting.curves_over_steps import PREFIX
from keras_apps.reporting.step_axes import labelled, set_log_axis
from tf_gradvar.pages import PERCENT, Gallery, Markup, Part, Picture, Section, Table, Text
from tf_gradvar.plots import smoothed

TEXT = (
    "One run of SGD, whose steps none of the buffers touches; all of them see the same groups at "
    "the same weights. <b>As in the paper's figure:</b> without a buffer Σ "
    "q<sub>k</sub>‖∇R<sub>k</sub> &minus; ∇R‖²; one buffer m for all clusters, Σ "
    "q<sub>k</sub>‖∇R<sub>k</sub> &minus; m‖²; a buffer for each, Σ "
    "q<sub>k</sub>‖∇R<sub>k</sub> &minus; g<sub>k</sub>‖². <b>Error of the step:</b> the mean "
    "squared distance of the step's direction from ∇R, squared bias included, as far as it comes "
    "from which clusters were drawn and from what the buffers hold: of the mean gradient of the "
    "groups, of momentum 1 &minus; &alpha; with one buffer, and of Discover with gain 1 and gain "
    "&alpha;."
)

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
GAINS = ("gain 1", "gain alpha")


class Value(NamedTuple):
    """A measured value, and how it is drawn: its name in the records, legend, colour, line."""

    name: str
    label: str
    color: str
    line: str


def carried_section(results: Results, folder: Path) -> list[Part]:
    """Return the section on buffers that were carried along, if a run has them."""
    arms = [arm for arm in results.arms if arm.optimizer.carries_buffers and arm.evaluations]
    if not arms:
        return []
    drawn = [picture for arm in arms for picture in _pictures(results, arm, folder)]
    table = Table(
        ("C", "alpha", "training", *("one buffer", "K buffers"), *("momentum", *GAINS)),
        [row for arm in arms for row in _rows(results, arm)],
    )
    note = (
        "Medians over the evaluations of that part of training and the seeds, in percent of the "
        "value without a buffer at the same weights: the values of the paper's figure, then the "
        "errors of the step."
    )
    parts: list[Part] = [Markup(TEXT), Gallery(drawn), table, Text(note, "note")]
    return [Section("Buffers at the same weights", parts)]


def _pictures(results: Results, arm: Arm, folder: Path) -> Iterator[Picture]:
    groups = f"{arm.groups} {'group' if arm.groups == 1 else 'groups'} in a step"
    for file, caption, label, values in (
        (
            "carried_buffers",
            f"Between-cluster variance as in the paper's figure, {groups}.",
            "between-cluster variance\n(squared gradient norm)",
            _paper_values(arm),
        ),
        (
            "carried_errors",
            f"Error of the step, squared bias included, {groups}.",
            "mean squared error\n(squared gradient norm)",
            _errors(arm),
        ),
    ):
        yield pictures.draw(
            f"{file}-{arm.optimizer.name}-C{arm.groups}",
            caption,
            folder,
            functools.partial(_plot, results, arm, values, label),
            curves.numbers_of([arm], [value.name for value in values]),
            height=pictures.FIGURE_INCHES[1] + pictures.LEGEND_LINE * max(0, len(values) - 4),
        )


def _plot(results: Results, arm: Arm, values: Sequence[Value], label: str, ax: Axes) -> Axes:
    for value in values:
        curve = arm.curve(value.name)
        ax.plot(
            [point.step for point in curve],
            smoothed([point.spread.mean for point in curve], 3),
            linewidth=1.6,
            label=value.label,
            color=value.color,
            linestyle=value.line,
        )
    set_log_axis(ax)
    ax.set_xlim(0, results.experiment.steps)
    return pictures.add_legend(labelled(ax, label), columns=2)


def _paper_values(arm: Arm) -> list[Value]:
    found = [Value(f"{PREFIX}sgd", "no buffer", "#000000", ":")]
    for alpha, line in _alphas(arm):
        for value, what, color in (
            (carried.BUFFER_FOR_ALL, "one buffer", "#E69F00"),
            (carried.BUFFER_FOR_EACH, "a buffer for each", "#0072B2"),
        ):
            name = PREFIX + value_name(value, alpha)
            found.append(Value(name, f"{what}, {ALPHA} {alpha:g}", color, line))
    return found


def _errors(arm: Arm) -> list[Value]:
    found = [Value(f"{PREFIX}error_of_sgd", "mean gradient", "#000000", ":")]
    for alpha, line in _alphas(arm):
        for value, what, color in (
            (carried.ERROR_OF_MOMENTUM, f"momentum {1 - alpha:g}", "#E69F00"),
            (carried.ERROR_OF_GAIN_1, "Discover, gain 1", "#56B4E9"),
            (carried.ERROR_OF_GAIN_ALPHA, f"Discover, gain {ALPHA}", "#0072B2"),
        ):
            of = "" if value == carried.ERROR_OF_MOMENTUM else f" ({alpha:g})"
            found.append(Value(PREFIX + value_name(value, alpha), what + of, color, line))
    return found


def _alphas(arm: Arm) -> list[tuple[float, str]]:
    """Return each alpha and its line."""
    alphas = arm.optimizer.arguments["alphas"]
    return list(zip(alphas, ("-", "--", "-.", ":"), strict=False))


def _rows(results: Results, arm: Arm) -> Iterator[list[str]]:
    steps = results.experiment.steps
    parts = (
        ("first sixth", 0, steps * EARLY),
        ("first half", 0, steps / 2),
        ("second half", steps / 2, steps),
    )
    for alpha, _ in _alphas(arm):
        for part, low, high in parts:
            inside = [r for r in arm.evaluations if low < r["step"] <= high]
            shares = [
                _share(inside, PREFIX + value_name(value, alpha), PREFIX + whole)
                for value, whole in (
                    (carried.BUFFER_FOR_ALL, "sgd"),
                    (carried.BUFFER_FOR_EACH, "sgd"),
                    (carried.ERROR_OF_MOMENTUM, "error_of_sgd"),
                    (carried.ERROR_OF_GAIN_1, "error_of_sgd"),
                    (carried.ERROR_OF_GAIN_ALPHA, "error_of_sgd"),
                )
            ]
            yield [str(arm.groups), f"{alpha:g}", part, *shares]


def _share(records: Sequence[dict[str, float]], value: str, whole: str) -> str:
    found = [record[value] / record[whole] for record in records if value in record]
    return f"{100 * statistics.median(found):.3g}{PERCENT}" if found else ""
