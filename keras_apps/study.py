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

from rich.table import Table

from keras_apps import measuring, study_report
from keras_apps.command_line import App, Task
from keras_apps.experiment import Experiment
from keras_apps.problems import Problem
from keras_apps.progress import Display
from keras_apps.trajectory import Study


def study_of(config: Any) -> Any:
    """The study in an experiment that has a trajectory; any other configuration unchanged.

    Args:
        config: Of either app.

    Returns:
        A `Study` for an `Experiment` with a trajectory.
    """
    if isinstance(config, Experiment) and config.gradient_variance is not None:
        return Study(config.title, config.problem, config.gradient_variance)
    return config


def prepare(study: Study) -> Problem:
    """Build the problem of a study.

    Args:
        study: The study.

    Returns:
        Its problem, in memory.

    Raises:
        ValueError: A batch size that the problem does not fit.
    """
    problem = study.problem.build()
    measuring.estimators_of(study.trajectory, problem)
    return problem


def run_study(task: Task) -> bool:
    """Train and measure what is not yet finished, then write the report.

    Args:
        task: What to do, with the configuration of a `Study`.

    Returns:
        Whether the trajectory reached its end; False after an interruption.
    """
    study: Study = task.loaded.config
    if not measuring.is_finished(study.trajectory, task.workdir):
        with Display(task.console, 1) as display:
            if not measuring.measure(
                study.trajectory, task.problem, task.workdir, display, task.interruption
            ):
                return False
    records = task.workdir.variances.read()
    task.console.print(_rich_table(records, task.loaded.title))
    page = study_report.write(task.loaded, task.problem.description, task.workdir)
    task.conclude(study_report.findings(records), page)
    return True


def _rich_table(records: list[dict[str, Any]], title: str) -> Table:
    shown = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    headings, cells = study_report.table(records)
    for index, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if index else "left")
    for row in cells:
        shown.add_row(*row)
    return shown


APP = App("keras_apps.study", __doc__ or "", Study, prepare, run_study, study_of)
main = APP.main

if __name__ == "__main__":
    APP.start()
