"""Measure gradient variance on a grid of random features models.

    python -m keras_apps.random_features --config random_features --workdir runs/random_features
    python -m keras_apps.random_features --config random_features:small --workdir runs/small \
        --processes 2
    python -m keras_apps.random_features --config random_features:small --workdir runs/all \
        --with runs/one_seed --with runs/other_seeds
    python -m keras_apps.random_features --list

The same command again continues with the runs that are missing; `--with` takes over what was run
elsewhere. Results are in the workdir: report.html, records.jsonl (a line for each run),
summary.csv, figures/.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from pathlib import Path
from typing import Any

from keras_apps.command_line import App, Task
from keras_apps.experiments.feature_grid import SG, FeatureGrid, FeatureRun
from keras_apps.experiments.training_problem import Problem
from keras_apps.reporting.feature_report import feature_report
from keras_apps.reporting.feature_results import summary_rows
from keras_apps.reporting.pictures import write_csv
from keras_apps.running.configurations import Loaded
from keras_apps.running.devices import Devices
from keras_apps.running.feature_runs import Instruments, measured
from keras_apps.running.parts import take_over_grid
from keras_apps.running.processes import check_processes, side_by_side
from keras_apps.running.progress import Display
from tf_gradvar.pages import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how many runs are trained at once, and what was run elsewhere."""
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="at once; default: 1, this one"
    )
    parser.add_argument(
        "--with",
        dest="parts",
        action="append",
        type=Path,
        default=[],
        metavar="WORKDIR",
        help="take over finished runs of another grid; may be repeated",
    )


def check(loaded: Loaded, options: argparse.Namespace) -> None:
    """Refuse a number of processes that the machine does not have cores for.

    Raises:
        ValueError: Such a number.
    """
    check_processes(options.processes)


def prepare(grid: FeatureGrid, devices: Devices) -> Problem:
    """Build the smallest problem of the grid, and what it is measured with.

    Raises:
        ValueError: Estimators that cannot be made.
    """
    smallest = min(
        (run.problem for run in grid.runs()),
        key=lambda one: (one.examples, one.input_size, one.teacher_features),
    )
    problem = smallest.build()
    Instruments(grid, problem, problem.build_model())
    return problem


def run(task: Task) -> Report | None:
    """Run what is missing; None after an interruption."""
    grid, workdir = task.loaded.config, task.workdir
    for other in task.options.parts:
        count = take_over_grid(workdir, grid, other)
        task.console.print(f"Took over {count} runs of {other}.")
    finished = workdir.finished()
    missing = [run for run in grid.runs() if run.name not in finished]
    started = time.perf_counter()
    with Display(task.console, len(missing)) as display:
        for records in side_by_side(
            functools.partial(measured, grid),
            _by_training_set(missing),
            task.options.processes,
            lambda: task.interruption.requested,
        ):
            for record in records:
                workdir.records.append(record)
                display.finish_run(record["run"], _outcome(record))
    finished = workdir.finished()
    if len(finished) < len(grid.runs()):
        return None
    if missing:
        seconds = time.perf_counter() - started
        task.console.print(f"Ran {len(missing)} runs in {seconds:.0f} s.")
    records = [finished[run.name] for run in grid.runs()]
    write_csv(summary_rows(records), workdir.path / "summary.csv")
    return feature_report(task.loaded, records, workdir.figures)


def _by_training_set(runs: list[FeatureRun]) -> list[list[FeatureRun]]:
    return [list(own) for _, own in itertools.groupby(runs, key=lambda run: run.problem)]


def _outcome(record: dict[str, Any]) -> str:
    loss, values = record["training_loss"][-1], record["estimators"][SG]
    return (
        f"training loss {loss:.3g}, variance of {SG} {values['average_variance'][-1]:.3g}, "
        f"{record['seconds']:.1f} s"
    )


APP = App(FeatureGrid, __doc__ or "", prepare, run, add_options=add_options, check=check)
main = APP.main

if __name__ == "__main__":
    APP.start()
