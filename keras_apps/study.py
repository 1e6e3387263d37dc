"""Measure the variance of gradient estimators along one SGD trajectory, at the same weights.

    python -m keras_apps.study --config mnist5k_mlp --workdir runs/study
    python -m keras_apps.study --config mnist5k_mlp --workdir runs/mine --set trajectory.steps=500
    python -m keras_apps.study --config mnist5k_classes:demo --workdir runs/demo_variance
    python -m keras_apps.study --list

A configuration of `keras_apps.train` that has a trajectory is taken, too. The same command again
continues where it was stopped. Results are in the workdir: report.html, variances.jsonl, figures/.
"""

from __future__ import annotations

from typing import Any

from keras_apps.command_line import App, Task
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.variance_study import Study
from keras_apps.reporting.cluster_images import cluster_images
from keras_apps.reporting.trajectory_report import study_report
from keras_apps.running.cluster_members import read_members
from keras_apps.running.devices import Devices
from keras_apps.running.measured_trajectory import measure, seeds_left
from keras_apps.running.progress import Display
from keras_apps.running.trajectory_estimators import ComparedEstimators
from tf_gradvar.pages import Report


def study_of(config: Any) -> Any:
    """Return the study in an experiment that has a trajectory; any other configuration as it is."""
    if isinstance(config, Experiment) and config.gradient_variance is not None:
        return Study(config.title, config.problem, config.gradient_variance)
    return config


def prepare(study: Study, devices: Devices) -> Problem:
    """Build the problem of a study.

    Raises:
        ValueError: A batch size that the problem does not fit.
    """
    problem = study.problem.build()
    ComparedEstimators(study.trajectory, problem, study.trajectory.seed)
    return problem


def run(task: Task) -> Report | None:
    """Train and measure what is not yet finished; None after an interruption."""
    trajectory = task.loaded.config.trajectory
    if seeds := seeds_left(trajectory, task.workdir):
        with Display(task.console, len(seeds)) as display:
            if not measure(trajectory, task.problem, task.workdir, display, task.interruption):
                return None
    records = task.workdir.variances.read()
    images = cluster_images(
        task.problem,
        read_members(task.workdir.members),
        trajectory.refreshes[-1],
        task.workdir.figures,
    )
    description = task.problem.description
    return study_report(task.loaded, records, description, task.workdir.figures, images)


APP = App(Study, __doc__ or "", prepare, run, study_of)
main = APP.main

if __name__ == "__main__":
    APP.start()
