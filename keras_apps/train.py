"""Train with the Discover optimizers and the usual ones, and compare them.

    python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo
    python -m keras_apps.train --config digits_classes --workdir runs/mine --set steps=400
    python -m keras_apps.train --list

The same command again continues where it was stopped. Results are in the workdir: report.html,
summary.csv, figures/, records.jsonl, tensorboard/. Several processes can share an experiment, each
in a workdir of its own; `--with WORKDIR` then takes over what another one has finished:

    python -m keras_apps.train --config mnist5k_family --workdir runs/one --set groups_per_batch=1
    python -m keras_apps.train --config mnist5k_family --workdir runs/all --with runs/one --report
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from keras_apps import requirements
from keras_apps.command_line import App, Task
from keras_apps.experiments.optimizer_comparison import Experiment, Run
from keras_apps.experiments.training_problem import Problem
from keras_apps.reporting.comparison_report import Material, comparison_report
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import summary_rows
from keras_apps.reporting.document import Report
from keras_apps.reporting.pictures import write_csv
from keras_apps.running import tuning
from keras_apps.running.checkpointing import discard
from keras_apps.running.measured_trajectory import estimators_of, is_finished, measure
from keras_apps.running.parts import take_over
from keras_apps.running.progress import Display
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir


def prepare(experiment: Experiment) -> Problem:
    """Build the problem of an experiment, and once all that may refuse its arguments.

    Raises:
        ValueError, TypeError: Optimizers that cannot be made, or what the problem does not fit.
    """
    problem = experiment.problem.build()
    for optimizer in experiment.optimizers:
        optimizer.build(experiment.learning_rate_schedule(0.1), problem.probabilities)
    if experiment.gradient_variance is not None:
        estimators_of(experiment.gradient_variance, problem)
    return problem


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only experiments of several runs need."""
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        type=Path,
        metavar="WORKDIR",
        help="take over the finished runs of a part of the experiment; may be repeated",
    )
    parser.add_argument(
        "--report", action="store_true", help="train nothing, report what is finished"
    )


def run(task: Task) -> Report | None:
    """Train what is not yet finished; None after an interruption."""
    experiment: Experiment = task.loaded.config
    workdir = task.workdir
    for other in task.options.others:
        count = take_over(workdir, experiment, other)
        task.console.print(f"Took over {count} runs of {other}.", highlight=False)
    if not task.options.report and not _train_all(experiment, task):
        return None
    results = Results.of(workdir.records.read(), experiment)
    write_csv(summary_rows(results), workdir.path / "summary.csv")
    variances, description = workdir.variances.read(), task.problem.description
    material = Material(task.loaded, results, variances, description, workdir.figures)
    return comparison_report(material)


def _train_all(experiment: Experiment, task: Task) -> bool:
    """Tune, compare, then measure along the trajectory. Returns False if it was interrupted."""
    finished = task.workdir.finished()
    for name, record in finished.items():  # A killed process may have left some behind.
        discard(task.workdir.checkpoints(name), keep_weights=not record["tunes"])
    compared = len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    left = experiment.number_of_tuning_runs() + compared - len(finished)
    trajectory = experiment.gradient_variance
    if trajectory is not None and is_finished(trajectory, task.workdir):
        trajectory = None
    total = left + (trajectory is not None)
    if not total:
        return True
    if not requirements.has_tensorboard():
        task.console.print(
            "TensorBoard is not installed, so no logs are written for it; everything else is the "
            "same. `pip install tensorboard` adds it."
        )
    started = time.perf_counter()
    with Display(task.console, total) as display:
        shared = (task.problem, task.workdir, display, task.interruption)
        while runs := _next_tuning_runs(experiment, task.workdir):
            if not all(TrainingRun(run, experiment, *shared).train() for run in runs):
                return False
        chosen = tuning.choose(task.workdir.records.read(), experiment)
        rest = [run for run in experiment.runs(chosen) if run.name not in finished]
        if not all(TrainingRun(run, experiment, *shared).train() for run in rest):
            return False
        if trajectory is not None and not measure(trajectory, *shared):
            return False
    task.console.print(f"Trained {total} runs in {time.perf_counter() - started:.0f} s.")
    return True


def _next_tuning_runs(experiment: Experiment, workdir: Workdir) -> list[Run]:
    """Return the tuning runs that can be run now; none if all are finished."""
    scores = tuning.scores_of(workdir.records.read())
    return [run for run in experiment.tuning_runs(scores) if run.name not in scores]


APP = App(Experiment, __doc__ or "", prepare, run, add_options=add_options)
main = APP.main

if __name__ == "__main__":
    APP.start()
