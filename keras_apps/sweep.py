r"""Train a configuration of `keras_apps.train` many times, with fields of it varied.

    python -m keras_apps.sweep --config digits_classes --workdir runs/sweep \
        --over group_size=8,16 --over optimizers.Discover.arguments.alpha=0.03,0.1,0.3
    python -m keras_apps.sweep --config digits_classes --workdir runs/drawn --search random \
        --trials 20 --over optimizers.SGD.learning_rates.1=log:0.01..1 --set optimizers=SGD
    python -m keras_apps.sweep --config digits_classes --workdir runs/best --search tpe \
        --trials 40 --processes 2 --choose test_accuracy --over group_size=4..64

A trial is a workdir of its own with all seeds of the configuration, trained by a process of its
own. The same command again continues where it was stopped, and with more `--trials` it goes on.
Results are in the workdir: report.html, sweep.csv, figures/, tensorboard/ (its page of
hyperparameters), trials/; trials.log is an Optuna study.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from keras_apps import requirements
from keras_apps.command_line import App, Task
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.sweep import SEARCHES, Sweep, assignments
from keras_apps.reporting.pictures import write_csv
from keras_apps.reporting.sweep_report import rows_of, sweep_report, sweep_rows, value_of
from keras_apps.running import configurations
from keras_apps.running.configurations import Loaded
from keras_apps.running.hyperparameter_logs import write_hyperparameters
from keras_apps.running.preparing import prepare
from keras_apps.running.processes import check_processes
from keras_apps.running.progress import Display
from keras_apps.running.sweep_trials import Trials
from tf_gradvar.pages import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which trials there are."""
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="vary a field: VALUE,VALUE or LOW..HIGH or log:LOW..HIGH; may be repeated",
    )
    parser.add_argument(
        "--search", choices=SEARCHES, default="grid", help="how trials are chosen; default: grid"
    )
    parser.add_argument("--trials", type=int, metavar="N", help="how many, unless it is a grid")
    parser.add_argument(
        "--choose",
        default="training_loss",
        metavar="VALUE",
        help="compare trials by this final value, for example test_accuracy",
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="trials at once; default: 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws; default: 0")


def check(loaded: Loaded, options: argparse.Namespace) -> None:
    """Refuse a sweep that cannot be run, and values that the configuration refuses.

    Raises:
        ValueError: What the options say does not go together, or not with the configuration.
        ImportError: Optuna is not installed.
    """
    sweep = sweep_of(options)
    check_processes(options.processes)
    for point in sweep.grid() if sweep.search == "grid" else sweep.corners():
        configurations.load(loaded.name, (*loaded.changes, *assignments(point)))
    requirements.imported("optuna", "optuna", "`keras_apps.sweep`")


def sweep_of(options: argparse.Namespace) -> Sweep:
    """Return what the options ask for."""
    return Sweep.of(options.over, options.search, options.trials, options.choose, options.seed)


def run(task: Task) -> Report | None:
    """Run the trials that are not finished; None after an interruption."""
    sweep, folder = sweep_of(task.options), task.workdir.path
    trials = Trials(sweep, task.loaded, folder, lambda trial: value_of(trial, sweep.choose))
    started, left = time.perf_counter(), trials.left
    with Display(task.console, left) as display:
        if not trials.run(task.options.processes, display, task.interruption):
            return None
    if left:
        task.console.print(f"Ran {left} trials in {time.perf_counter() - started:.0f} s.")
    rows = rows_of(trials.finished(), sweep)
    write_csv(sweep_rows(rows), folder / "sweep.csv")
    logs: list[Any] = [
        (
            f"{row.trial}-{row.arm.optimizer.name}-C{row.arm.groups}",
            {"optimizer": row.arm.optimizer.name, "groups": str(row.arm.groups), **row.point},
            {name: spread.mean for name, spread in row.arm.final.items()},
        )
        for row in rows
    ]
    write_hyperparameters(folder / "tensorboard", logs)
    return sweep_report(task.loaded, sweep, rows, task.workdir.figures)


APP = App(
    Experiment,
    __doc__ or "",
    prepare,
    run,
    add_options=add_options,
    check=check,
    command="keras_apps.sweep",
)
main = APP.main

if __name__ == "__main__":
    APP.start()
