"""Draw clusters of gradients in the plane, and where each would move a linear classifier.

    python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/figure_1
    python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/later --set steps=30
    python -m keras_apps.cluster_picture --list

Results are in the workdir: report.html, and figures/ with the numbers beside the picture.
"""

from __future__ import annotations

from keras_apps.command_line import App, Task
from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.two_gaussians import ClusterPicture
from keras_apps.reporting.plane_report import COLOURS, plane_report
from keras_apps.running.devices import Devices
from keras_apps.running.plane_clustering import find
from tf_gradvar.pages import Report


def prepare(config: ClusterPicture, devices: Devices) -> Problem:
    """Build the problem of a configuration.

    Raises:
        ValueError: More clusters than colours.
    """
    if not 1 <= config.num_clusters <= len(COLOURS):
        raise ValueError(
            f"`num_clusters` must be from 1 to {len(COLOURS)}, one colour each. Received: "
            f"num_clusters={config.num_clusters}."
        )
    return config.problem.build()


def run(task: Task) -> Report:
    """Train, cluster and draw."""
    config: ClusterPicture = task.loaded.config
    moments = [find(config, task.problem, steps) for steps in (config.steps, *config.moments)]
    return plane_report(task.loaded, moments, task.problem, task.workdir.figures)


APP = App(ClusterPicture, __doc__ or "", prepare, run)
main = APP.main

if __name__ == "__main__":
    APP.start()
