"""Report on clusters in the plane: points, boundaries, and how far the clusters turn them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.two_gaussians import ClusterPicture
from keras_apps.reporting import pictures
from keras_apps.reporting.about import about
from keras_apps.running.configurations import Loaded
from keras_apps.running.plane_clustering import Found
from tf_gradvar.pages import Gallery, Report, Section, Table, Text, findings_parts

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442")
MARKERS = ("o", "x")
HEADINGS = ("cluster", "points o", "points x", "mean gradient norm", "turns the boundary by")


def plane_report(
    loaded: Loaded, moments: Sequence[Found], problem: Problem, figures: Path
) -> Report:
    """Draw a picture of each moment and return the report, whose words are on the first one."""
    config: ClusterPicture = loaded.config
    found = moments[0]
    drawn = [
        pictures.draw(
            f"clusters-{moment.steps}" if place else "clusters",
            f"After {moment.steps} steps. Colours are clusters, o and x the classes. A dashed line "
            f"is the boundary after a step of size {config.step_size:g} along the mean gradient of "
            "the cluster of its colour.",
            figures,
            functools.partial(plot, moment, problem, config.step_size),
            numbers(moment, problem, config.step_size),
        )
        for place, moment in enumerate(moments)
    ]
    order = sorted(range(len(moments)), key=lambda place: moments[place].steps)
    how = (
        f"{problem.description} {config.steps} steps of gradient descent on all the points, "
        f"learning rate {config.learning_rate:g}; then their gradients are clustered."
    )
    findings = loaded.conclusions(sentences(found, problem))
    table = turns_table(found, problem, config.step_size)
    parts = [
        *findings_parts(findings),
        Gallery([drawn[place] for place in order]),
        Section("Clusters", [Text(how), table]),
        about(loaded),
    ]
    return Report(loaded.title, findings, None, parts)


def plot(found: Found, problem: Problem, step_size: float, ax: Axes) -> Axes:
    """Draw the points in the colours of their clusters, the boundary, and where each moves it."""
    classes = problem.y[:, 0].astype(int)
    limit = 1.15 * np.abs(problem.x).max(axis=0)
    ends = np.array([-limit[0], limit[0]])
    ax.plot(ends, _height(found.weights, ends), "-", color="#000000", linewidth=1.8)
    for cluster in found.clusters:
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
    ax.figure.legend(
        handles=legend_handles(found, classes), loc="outside lower center", ncols=2, fontsize=8.5
    )
    return ax


def legend_handles(found: Found, classes: np.ndarray) -> list[Line2D]:
    """Return what the legend shows: the lines, the markers, and each cluster with its members."""
    grey = {"color": "#555555", "linestyle": ""}
    lines = [
        Line2D([], [], color="#000000", label="boundary now"),
        Line2D([], [], color="#555555", linestyle="--", label="after a step of one cluster"),
        *(
            Line2D([], [], marker=marker, markersize=5, label=f"class {marker}", **grey)
            for marker in MARKERS
        ),
    ]
    for cluster in found.clusters:
        counts = np.bincount(classes[found.assignments == cluster], minlength=2)
        members = ", ".join(f"{n} {m}" for n, m in zip(counts, MARKERS, strict=True) if n)
        line = Line2D([], [], color=COLOURS[cluster], linestyle="--", marker="s", markersize=5)
        line.set_label(f"cluster {cluster + 1}: {members}")
        lines.append(line)
    return lines


def numbers(found: Found, problem: Problem, step_size: float) -> list[dict[str, Any]]:
    """Return the picture as rows: one for each point, then the boundary now and of each cluster."""
    norms = np.linalg.norm(found.gradients, axis=1)
    points = zip(found.assignments, problem.y[:, 0], problem.x, norms, strict=True)
    rows: list[dict[str, Any]] = [
        {
            "what": "point",
            "cluster": int(cluster),
            "class": int(label),
            "first": float(point[0]),
            "second": float(point[1]),
            "gradient_norm": float(norm),
        }
        for cluster, label, point, norm in points
    ]
    boundaries = {"now": found.weights} | {k: found.moved(k, step_size) for k in found.clusters}
    return rows + [
        {"what": "boundary", "cluster": name, "first": w[0], "second": w[1], "bias": w[2]}
        for name, w in boundaries.items()
    ]


def turns_table(found: Found, problem: Problem, step_size: float) -> Table:
    """Return a row for each cluster, under `HEADINGS`."""
    cells = []
    for cluster in found.clusters:
        mine = found.assignments == cluster
        counts = np.bincount(problem.y[mine, 0].astype(int), minlength=2)
        norm = np.linalg.norm(found.gradients[mine].mean(axis=0))
        turn = _angle(found.moved(cluster, step_size)) - _angle(found.weights)
        turn = (turn + 90) % 180 - 90  # a boundary has no direction
        cells.append([str(cluster + 1), *map(str, counts), f"{norm:.3f}", f"{turn:+.1f}°"])
    return Table(HEADINGS, cells)


def sentences(found: Found, problem: Problem) -> list[str]:
    """Return what the numbers say."""
    both = sum(len(set(problem.y[found.assignments == k, 0])) == 2 for k in found.clusters)
    total = len(found.clusters)
    gradient, space = (100 * found.within_share(v) for v in (found.gradients, problem.x))
    return [
        f"A batch of one point from each cluster has {found.variance_ratio:.2f} of the variance "
        f"of a plain batch of {total}; {both} of {total} clusters hold points of both classes.",
        f"Within the clusters is {gradient:.0f} % of the variance of the gradients, and "
        f"{space:.0f} % of the variance of the points themselves.",
    ]


def _height(weights: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the second coordinate of the boundary w_1 x_1 + w_2 x_2 + b = 0."""
    return -(weights[0] * first + weights[2]) / weights[1]


def _angle(weights: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(weights[1], weights[0])))
