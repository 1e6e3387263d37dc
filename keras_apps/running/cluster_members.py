"""Examples of each cluster of gradients: the nearest to its centre, and the most noisy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem
from keras_apps.running.workdir import replace_text
from tf_gradvar import per_example

NUMBERS = 256  # of a sketch
CHUNK = 256
SHOWN = 6

Members = dict[str, Any]


def members_of_clusters(
    vectors: np.ndarray, assignments: np.ndarray, labels: np.ndarray
) -> list[Members]:
    """Return what is known of each cluster, from vectors that keep the distances of gradients.

    Args:
        vectors: [N, r].
        assignments: The cluster of each, [N].
        labels: The class of each, [N].

    Returns:
        For each cluster its number, its `size`, the mean squared distance from its centre (`noise`,
        in the units of the vectors), how many examples are of each of its `classes`, and the
        numbers of the examples `nearest` to the centre and farthest from it, the `noisiest`, each
        in that order.

    Example:
        >>> vectors = np.array([[0.0], [1.0], [5.0], [9.0]])
        >>> found = members_of_clusters(vectors, np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0]))
        >>> found[0]["nearest"], found[0]["noisiest"], found[0]["noise"], found[1]["size"]
        ([1, 0, 2], [2, 0, 1], 4.666666666666667, 1)
        >>> found[0]["classes"]
        [1, 2]
    """
    found = []
    for cluster in range(int(assignments.max()) + 1):
        rows = np.flatnonzero(assignments == cluster)
        if not len(rows):
            continue
        own = vectors[rows]
        distances = np.square(own - own.mean(axis=0)).sum(axis=1)
        order = rows[np.argsort(distances, kind="stable")].tolist()
        found.append(
            {
                "cluster": cluster,
                "size": len(rows),
                "noise": float(distances.mean()),
                "classes": np.bincount(labels[rows]).tolist(),
                "nearest": order[:SHOWN],
                "noisiest": order[::-1][:SHOWN],
            }
        )
    return found


def write_members(
    path: Path, model: keras.Model, problem: Problem, x: Any, y: Any, assignments: np.ndarray
) -> None:
    """Write the members of clusters to a file, from sketches of the gradients at these weights.

    Args:
        path: The file.
        model: At the weights that the clusters were found at.
        problem: Has the loss.
        x: Inputs that were clustered, [N, ...].
        y: Their targets.
        assignments: The cluster of each, [N].
    """
    starts = range(0, len(x), CHUNK)
    sketches = [
        per_example.sketch(
            model, x[start : start + CHUNK], y[start : start + CHUNK], problem.loss, NUMBERS
        )
        for start in starts
    ]
    vectors = np.concatenate([np.asarray(sketch, np.float64) for sketch in sketches])
    labels = np.argmax(y, axis=1) if np.ndim(y) == 2 else np.asarray(y)
    members = members_of_clusters(vectors, assignments, labels.astype(int))
    replace_text(path, json.dumps(members) + "\n")


def read_members(path: Path) -> list[Members]:
    """Return what `write_members` wrote; nothing where there is no such file."""
    if not path.exists():
        return []
    members: list[Members] = json.loads(path.read_text(encoding="utf-8"))
    return members
