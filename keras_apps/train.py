"""Train with the Discover optimizers and the usual ones, and compare them.

    python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo
    python -m keras_apps.train --config digits_classes --workdir runs/mine --set steps=400
    python -m keras_apps.train --list

    python -m keras_apps.train --config NAME --workdir runs/two --strategy mirrored --devices 2
    python -m keras_apps.train --config NAME --workdir /shared/all --strategy multi_worker

The same command again continues where it was stopped. Several devices share every batch, whose
groups must divide among them, and end with the numbers of one; on JAX (KERAS_BACKEND=jax),
`--devices N` alone takes N of them. With `multi_worker`, start the command on every machine that
TF_CONFIG names, with a workdir that all of them read; the chief alone writes it.

Results are in the workdir: report.html, summary.csv, figures/, records.jsonl, tensorboard/. Several
processes can share an experiment, each in a workdir of its own; `--with WORKDIR` then takes over
what another one has finished:

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
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.reporting.comparison_report import Material, comparison_report
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import summary_rows
from keras_apps.reporting.pictures import write_csv
from keras_apps.running import devices, tuning
from keras_apps.running.checkpointing import discard
from keras_apps.running.device_rules import check_continues
from keras_apps.running.devices import Devices
from keras_apps.running.parts import take_over
from keras_apps.running.preparing import all_optimizers, prepare
from keras_apps.running.progress import Display
from keras_apps.running.shown_examples import shown_examples
from keras_apps.running.training_run import TrainingRun
from keras_apps.running.workdir import Workdir
from tf_gradvar.pages import Report


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
    parser.add_argument(
        "--strategy",
        choices=devices.STRATEGIES,
        help="of tf.distribute; default: one_device, or mirrored for several devices",
    )
    parser.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="train on N devices, logical processors where there are no others",
    )


def run(task: Task) -> Report | None:
    """Train what is not yet finished; None after an interruption, and where no report is made."""
    experiment: Experiment = task.loaded.config
    workdir = task.workdir
    for other in task.options.others:
        count = take_over(workdir, experiment, other)
        text = f"Runs taken over from {other}: {count}."
        task.console.print(text, highlight=False, markup=False, soft_wrap=True)
    if not task.options.report and not _train_all(experiment, task):
        return None
    if not task.devices.workers.is_chief:
        return None
    results = Results.of(workdir.records.read(), experiment)
    write_csv(summary_rows(results), workdir.path / "summary.csv")
    variances = workdir.variances.read()
    description = task.problem.description + devices.trained_on(workdir.finished().values())
    shown = shown_examples(task.problem)
    material = Material(task.loaded, results, variances, description, workdir.figures, shown)
    return comparison_report(material)


def _train_all(experiment: Experiment, task: Task) -> bool:
    """Tune, compare, then measure along the trajectory. Returns False if it was interrupted."""
    finished = task.workdir.finished()
    for name, record in finished.items():  # A killed process may have left some behind.
        discard(task.workdir.checkpoints(name), keep_weights=not record["tunes"])
    compared = len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    left = experiment.number_of_tuning_runs() + compared - len(finished)
    trajectory = experiment.gradient_variance
    measures = task.devices.workers.is_chief  # on one device
    if trajectory is not None and (not measures or _is_measured(trajectory, task.workdir)):
        trajectory = None
    total = left + (0 if trajectory is None else trajectory.repeats)
    if not total:
        return True
    optimizers = (optimizer for _, optimizer in all_optimizers(experiment, task.problem))
    check_continues(task.workdir, task.devices, optimizers)
    task.workdir.note_devices(task.devices.facts)
    if task.devices.backend == "tensorflow" and not requirements.has_tensorboard():
        task.console.print(
            "TensorBoard is not installed, so no logs are written for it; everything else is the "
            "same. `pip install tensorboard` adds it."
        )
    started = time.perf_counter()
    with Display(task.console, total) as display:
        while runs := _next_tuning_runs(experiment, task.workdir):
            if not all(_trained(run, task, display) for run in runs):
                return False
        chosen = tuning.choose(task.workdir.records.read(), experiment)
        rest = [run for run in experiment.runs(chosen) if run.name not in finished]
        if not all(_trained(run, task, display) for run in rest):
            return False
        if trajectory is not None and not _measured(trajectory, task, display):
            return False
    task.console.print(f"Trained {total} runs in {time.perf_counter() - started:.0f} s.")
    return True


def _trained(run: Run, task: Task, display: Display) -> bool:
    shared = (task.problem, task.workdir, display, task.interruption)
    return TrainingRun(run, task.loaded.config, *shared, devices=task.devices).train()


# Measuring knows gradients of single examples, which only TensorFlow computes.
def _is_measured(trajectory: Trajectory, workdir: Workdir) -> bool:
    from keras_apps.running.measured_trajectory import is_finished

    return is_finished(trajectory, workdir)


def _measured(trajectory: Trajectory, task: Task, display: Display) -> bool:
    from keras_apps.running.measured_trajectory import measure

    return measure(trajectory, task.problem, task.workdir, display, task.interruption)


def _next_tuning_runs(experiment: Experiment, workdir: Workdir) -> list[Run]:
    """Return the tuning runs that can be run now; none if all are finished."""
    scores = tuning.scores_of(workdir.records.read())
    return [run for run in experiment.tuning_runs(scores) if run.name not in scores]


def _devices(options: argparse.Namespace) -> Devices:
    return Devices() if options.report else devices.start(options.strategy, options.devices)


APP = App(Experiment, __doc__ or "", prepare, run, add_options=add_options, devices=_devices)
main = APP.main

if __name__ == "__main__":
    APP.start()
