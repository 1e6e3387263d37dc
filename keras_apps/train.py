"""Train with the Discover optimizers and the usual ones, and compare them.

    python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo
    python -m keras_apps.train --config digits_classes --workdir runs/mine --set steps=400
    python -m keras_apps.train --list

The same command again continues where it was stopped. Results are in the workdir: report.html,
summary.csv, figures/, records.jsonl, tensorboard/.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from keras_apps import findings, measuring, optimizers, report, requirements, summary, tuning
from keras_apps.checkpointing import discard
from keras_apps.command_line import App, Task
from keras_apps.experiment import Experiment, Run
from keras_apps.problems import Problem
from keras_apps.progress import Display
from keras_apps.runs import RunTrainer


def prepare(experiment: Experiment) -> Problem:
    """Build the problem of an experiment.

    Args:
        experiment: The experiment.

    Returns:
        Its problem, in memory.

    Raises:
        ValueError: Optimizers that cannot be made, or what the problem does not fit.
    """
    problem = experiment.problem.build()
    optimizers.check(experiment, problem.probabilities)
    if experiment.gradient_variance is not None:
        measuring.estimators_of(experiment.gradient_variance, problem)
    return problem


def run_experiment(task: Task) -> bool:
    """Train what is not yet finished, then write the table and the report.

    Args:
        task: What to do, with the configuration of an `Experiment`.

    Returns:
        Whether all runs are finished; False after an interruption.
    """
    experiment: Experiment = task.loaded.config
    if not _train_all(experiment, task):
        return False
    records = task.workdir.records.read()
    rows = summary.summarise(records, experiment)
    summary.write_csv(rows, task.workdir.path / "summary.csv")
    task.console.print(summary.rich_table(rows, task.loaded.title))
    page = report.write(task.loaded, task.problem.description, task.workdir)
    task.conclude(findings.of(rows, records, experiment), page)
    return True


def _train_all(experiment: Experiment, task: Task) -> bool:
    """Tune, compare, then measure along the trajectory. Returns False if it was interrupted."""
    finished = task.workdir.finished()
    for name, record in finished.items():  # A killed process may have left some behind.
        discard(task.workdir.checkpoints(name), keep_weights=not record["tunes"])
    first = [run for run in experiment.tuning_runs() if run.name not in finished]
    compared = len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    left = compared - sum(not record["tunes"] for record in finished.values())
    trajectory = experiment.gradient_variance
    if trajectory is not None and measuring.is_finished(trajectory, task.workdir):
        trajectory = None
    total = len(first) + left + (trajectory is not None)
    if not total:
        return True
    if not requirements.has_tensorboard():
        task.console.print(
            "TensorBoard is not installed, so no logs are written for it; everything else is the "
            "same. `pip install tensorboard` adds it."
        )
    started = time.perf_counter()
    with Display(task.console, total) as display:
        trainer = RunTrainer(experiment, task.problem, task.workdir, display, task.interruption)
        if not _train(first, trainer):
            return False
        rates = tuning.choose(task.workdir.records.read(), experiment)
        if not _train([r for r in experiment.runs(rates) if r.name not in finished], trainer):
            return False
        if trajectory is not None and not measuring.measure(
            trajectory, task.problem, task.workdir, display, task.interruption
        ):
            return False
    task.console.print(f"Trained {total} runs in {time.perf_counter() - started:.0f} s.")
    return True


def _train(runs: Sequence[Run], trainer: RunTrainer) -> bool:
    return all(trainer.train(run) for run in runs)


APP = App("keras_apps.train", __doc__ or "", Experiment, prepare, run_experiment)
main = APP.main

if __name__ == "__main__":
    APP.start()
