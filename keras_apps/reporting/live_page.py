"""A page on a training that is still running, from the records that it has written so far."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from keras_apps.reporting import pictures
from keras_apps.reporting.step_axes import set_log_axis
from tf_gradvar import plots
from tf_gradvar.pages import Gallery, Part, Picture, Report, Section, Table, Text
from tf_gradvar.records import RecordFile

Record = dict[str, Any]

# Runs that are shown, the newest ones.
RUNS = 7
VALUES = ("training_loss", "test_loss", "training_accuracy", "test_accuracy")


@dataclasses.dataclass(frozen=True)
class Live:
    """What a training has written so far.

    Attributes:
        name: Of the file or folder.
        evaluations: Of runs of `keras_apps.train`, in the order of writing.
        variances: Of a `GradientVarianceLogger` or a trajectory.
        written: When the last record was written.
    """

    name: str
    evaluations: Sequence[Record]
    variances: Sequence[Record]
    written: datetime.datetime | None

    @classmethod
    def read(cls, path: Path) -> Live:
        """Read a workdir, or the file of a logger.

        Raises:
            FileNotFoundError: Neither is there.
        """
        if not path.exists():
            raise FileNotFoundError(
                "`path` must be a workdir, or the file that a `GradientVarianceLogger` writes "
                f"(`path=`). Received: {path}, which does not exist."
            )
        files = [path] if path.is_file() else [path / "records.jsonl", path / "variances.jsonl"]
        records = [record for file in files for record in RecordFile(file).read()]
        times = [file.stat().st_mtime for file in files if file.exists()]
        return cls(
            path.name,
            [record for record in records if record.get("kind") == "evaluation"],
            [record for record in records if "estimators" in record],
            datetime.datetime.fromtimestamp(max(times)) if times else None,
        )


def live_report(live: Live) -> Report:
    """Return the page of a training."""
    parts: list[Part] = [Text(_now(live), "finding")]
    if live.evaluations:
        parts.append(Section("Runs", [_runs_table(live), Gallery([*_losses(live)])]))
    if live.variances:
        parts.append(Section("Gradient variance", [Gallery([*_variances(live)])]))
    return Report(f"{live.name}, as it trains", [], None, parts)


def _now(live: Live) -> str:
    records = [*live.evaluations, *live.variances]
    if not records:
        return "No measurement so far."
    step = max(int(record["step"]) for record in (live.variances or live.evaluations)[-1:])
    run = f" of {live.evaluations[-1]['run']}" if live.evaluations and not live.variances else ""
    assert live.written is not None
    return f"Step {step}{run}; last written at {live.written:%H:%M:%S}."


def _newest_runs(live: Live) -> list[str]:
    names = [str(record["run"]) for record in live.evaluations]
    newest_last = dict.fromkeys(reversed(names))
    return list(newest_last)[:RUNS]


def _runs_table(live: Live) -> Table:
    last = {str(record["run"]): record for record in live.evaluations}
    present = [value for value in VALUES if any(value in record for record in last.values())]
    cells = [
        [name, str(last[name]["step"]), *(_number(last[name].get(value)) for value in present)]
        for name in _newest_runs(live)
    ]
    return Table(["run", "step", *(value.replace("_", " ") for value in present)], cells)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"


def _losses(live: Live) -> Iterator[Picture]:
    """Yield the losses of the newest runs over their steps."""
    names = _newest_runs(live)
    rows = [record for record in live.evaluations if record["run"] in names]
    for value in [v for v in VALUES[:2] if any(v in row for row in rows)]:
        plot = functools.partial(_plot_runs, rows, names, value)
        caption = f"{value.replace('_', ' ').capitalize()} of the newest runs."
        yield pictures.drawn(value, caption, plot)


def _plot_runs(rows: Sequence[Record], names: Sequence[str], value: str, ax: Axes) -> Axes:
    for name, colour in zip(names, plots.PALETTE, strict=False):
        points = [(row["step"], row[value]) for row in rows if row["run"] == name and value in row]
        if points:
            ax.plot(*zip(*points, strict=True), "o-", color=colour, markersize=3, label=name)
    ax.set_xlabel("step")
    ax.set_ylabel(f"{value.replace('_', ' ')} (nats)")
    set_log_axis(ax)
    return pictures.add_legend(ax, columns=1)


def _variances(live: Live) -> Iterator[Picture]:
    """Yield what the records of the estimators hold."""
    records = live.variances
    values = [v for record in records for v in record["estimators"].values()]
    drawn: list[tuple[str, str, Callable[[Axes], Axes]]] = [
        (
            "average_variance",
            "Average variance of each estimate: dots are measurements, lines their running mean.",
            functools.partial(_plot_variance, records, "average_variance"),
        )
    ]
    if any("normalized_variance" in v for v in values):
        drawn.append(
            (
                "normalized_variance",
                "Normalized variance: 0 is no noise, 1 is nothing but noise.",
                functools.partial(_plot_variance, records, "normalized_variance"),
            )
        )
    if any("noise_scale" in v for v in values):
        drawn.append(
            (
                "noise_scale",
                "Gradient noise scale: the batch size at which noise and signal are equal.",
                functools.partial(plots.plot_noise_scale, records),
            )
        )
    if any("norm_histogram" in record for record in records):
        drawn.append(
            (
                "norm_spectrum",
                "Norms of the gradients of single examples.",
                functools.partial(plots.plot_norm_spectrum, records),
            )
        )
    for name, caption, plot in drawn:
        yield pictures.drawn(name, caption, plot)


def _plot_variance(records: Sequence[Record], value: str, ax: Axes) -> Axes:
    return plots.plot_variance(records, ax, value=value)
