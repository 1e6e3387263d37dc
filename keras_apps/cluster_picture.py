"""Draw clusters of gradients in the plane, and where each would move a linear classifier.

    python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/figure_1
    python -m keras_apps.cluster_picture --config gc_figure_1 --workdir runs/later --set steps=30
    python -m keras_apps.cluster_picture --list

Results are in the workdir: report.html, and figures/ with the numbers beside the picture.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from keras_apps import figures
from keras_apps.command_line import App, Task
from keras_apps.problems import Problem
from keras_apps.report_page import about, grid, page, paragraph, scrolling_table, section
from keras_apps.two_gaussians import ClusterPicture
from tf_gradvar import GradientClustering
from tf_gradvar.per_example import gradients

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442")
MARKERS = ("o", "x")
HEADINGS = ("cluster", "points o", "points x", "mean gradient norm", "turns the boundary by")


@dataclasses.dataclass(frozen=True)
class Found:
    """What is drawn.

    Attributes:
        weights: Of the classifier now, two for the axes and the bias, [3].
        gradients: Of each point's loss, [N, 3].
        assignments: The cluster of each point, [N].
        variance_ratio: V[GC] / V[SG-B] for B = K.
    """

    weights: np.ndarray
    gradients: np.ndarray
    assignments: np.ndarray
    variance_ratio: float

    def moved(self, cluster: int, step_size: float) -> np.ndarray:
        """The weights after a step along a cluster's mean gradient, [3]."""
        mean = self.gradients[self.assignments == cluster].mean(axis=0)
        return self.weights - step_size * mean

    def within_share(self, vectors: np.ndarray) -> float:
        """The part of the variance of some vectors [N, d] that is within the clusters."""
        clusters = np.unique(self.assignments)
        parts = [vectors[self.assignments == k] for k in clusters]
        within = sum(np.square(part - part.mean(axis=0)).sum() for part in parts)
        return float(within / np.square(vectors - vectors.mean(axis=0)).sum())


def prepare(config: ClusterPicture) -> Problem:
    """Build the problem of a configuration.

    Args:
        config: Of a picture.

    Raises:
        ValueError: More clusters than colours.
    """
    if not 1 <= config.num_clusters <= len(COLOURS):
        raise ValueError(
            f"`num_clusters` must be from 1 to {len(COLOURS)}, one colour each. Received "
            f"{config.num_clusters}."
        )
    return config.problem.build()


def find(config: ClusterPicture, problem: Problem) -> Found:
    """Train the classifier and cluster its gradients.

    Args:
        config: How.
        problem: Of the configuration.
    """
    model = problem.build_model()
    model.compile(keras.optimizers.SGD(config.learning_rate), problem.loss)
    if config.steps:
        model.fit(problem.x, problem.y, batch_size=len(problem.x), epochs=config.steps, verbose=0)
    clustering = GradientClustering(
        config.num_clusters, "full", seed=config.seed, max_passes=100, verbose=False
    )
    result = clustering.fit(model, problem.x, problem.y, problem.loss)
    rows = gradients(model, problem.x, problem.y, problem.loss)
    return Found(
        weights=np.concatenate([np.ravel(weights) for weights in model.get_weights()]),
        gradients=np.concatenate([np.reshape(row, (len(problem.x), -1)) for row in rows], axis=1),
        assignments=result.assignments,
        variance_ratio=float(result.variance_ratio),
    )


def plot(found: Found, problem: Problem, step_size: float, ax: Axes) -> Axes:
    """The points in the colours of their clusters, the boundary, and where each would move it.

    Args:
        found: What `find` returned.
        problem: The points.
        step_size: Of the configuration.
        ax: Axes to draw into.

    Returns:
        The axes.
    """
    classes = problem.y[:, 0].astype(int)
    limit = 1.15 * np.abs(problem.x).max(axis=0)
    ends = np.array([-limit[0], limit[0]])
    ax.plot(ends, _height(found.weights, ends), "-", color="#000000", linewidth=1.8)
    for cluster in range(found.assignments.max() + 1):
        colour = COLOURS[cluster]
        for label, marker in enumerate(MARKERS):
            mine = problem.x[(found.assignments == cluster) & (classes == label)]
            ax.scatter(*mine.T, marker=marker, color=colour, s=16, linewidths=1.1)
        moved = found.moved(cluster, step_size)
        ax.plot(ends, _height(moved, ends), "--", color=colour, linewidth=1.4)
    ax.set_xlim(-limit[0], limit[0])
    ax.set_ylim(-limit[1], limit[1])
    ax.set_xlabel("first feature")
    ax.set_ylabel("second feature")
    handles = [
        Line2D([], [], color="#000000", label="boundary now"),
        Line2D([], [], color="#555555", linestyle="--", label="after a step of one cluster"),
    ]
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
    return ax


def numbers(found: Found, problem: Problem, step_size: float) -> list[dict[str, Any]]:
    """The picture as rows: one for each point, then the boundary now and of each cluster."""
    norms = np.linalg.norm(found.gradients, axis=1)
    rows: list[dict[str, Any]] = [
        {
            "what": "point",
            "cluster": int(cluster),
            "class": int(label),
            "first": float(point[0]),
            "second": float(point[1]),
            "gradient_norm": float(norm),
        }
        for cluster, label, point, norm in zip(
            found.assignments, problem.y[:, 0], problem.x, norms, strict=True
        )
    ]
    clusters = range(found.assignments.max() + 1)
    boundaries = {"now": found.weights} | {k: found.moved(k, step_size) for k in clusters}
    return rows + [
        {"what": "boundary", "cluster": name, "first": w[0], "second": w[1], "bias": w[2]}
        for name, w in boundaries.items()
    ]


def table(found: Found, problem: Problem, step_size: float) -> list[list[str]]:
    """A row for each cluster, under `HEADINGS`."""
    cells = []
    for cluster in range(found.assignments.max() + 1):
        mine = found.assignments == cluster
        counts = np.bincount(problem.y[mine, 0].astype(int), minlength=2)
        norm = np.linalg.norm(found.gradients[mine].mean(axis=0))
        turn = _angle(found.moved(cluster, step_size)) - _angle(found.weights)
        turn = (turn + 90) % 180 - 90  # a boundary has no direction
        cells.append([str(cluster + 1), *map(str, counts), f"{norm:.3f}", f"{turn:+.1f}°"])
    return cells


def sentences(found: Found, problem: Problem) -> list[str]:
    """What the numbers say."""
    clusters = range(found.assignments.max() + 1)
    both = sum(len(set(problem.y[found.assignments == k, 0])) == 2 for k in clusters)
    total = len(clusters)
    gradient, space = (100 * found.within_share(v) for v in (found.gradients, problem.x))
    return [
        f"A batch of one point from each cluster has {found.variance_ratio:.2f} of the variance "
        f"of a plain batch of {total}; {both} of {total} clusters hold points of both classes.",
        f"Within the clusters is {gradient:.0f} % of the variance of the gradients, and "
        f"{space:.0f} % of the variance of the points themselves.",
    ]


def run(task: Task) -> bool:
    """Train, cluster, draw, and write the report.

    Args:
        task: What to do, with the configuration of a `ClusterPicture`.

    Returns:
        True: it is done.
    """
    config: ClusterPicture = task.loaded.config
    found = find(config, task.problem)
    picture = figures.draw(
        "clusters",
        f"Colours are clusters, o and x the classes. A dashed line is the boundary after a step "
        f"of size {config.step_size:g} along the mean gradient of the cluster of its colour.",
        task.workdir.figures,
        lambda ax: plot(found, task.problem, config.step_size, ax),
        numbers(found, task.problem, config.step_size),
    )
    path = task.workdir.path / "report.html"
    path.write_text(_page(task, config, found, picture), "utf-8")
    task.conclude(sentences(found, task.problem), path)
    return True


def _page(task: Task, config: ClusterPicture, found: Found, picture: figures.Picture) -> str:
    how = (
        f"{task.problem.description} {config.steps} steps of gradient descent on all the points, "
        f"learning rate {config.learning_rate:g}; then their gradients are clustered."
    )
    cells = table(found, task.problem, config.step_size)
    said = task.loaded.conclusions(sentences(found, task.problem))
    parts = [
        paragraph(said[0], "finding") + "".join(map(paragraph, said[1:])) + grid([picture]),
        section("Clusters", paragraph(how) + scrolling_table(HEADINGS, cells, ())),
        about(task.loaded.name, task.loaded.text, ""),
    ]
    return page(task.loaded.title, parts)


def _height(weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The second coordinate of the boundary w_1 x_1 + w_2 x_2 + b = 0."""
    return -(weights[0] * first + weights[2]) / weights[1]


def _angle(weights: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(weights[1], weights[0])))


APP = App("keras_apps.cluster_picture", __doc__ or "", ClusterPicture, prepare, run)
main = APP.main

if __name__ == "__main__":
    APP.start()
