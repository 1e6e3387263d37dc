"""A few examples as training sees them, one row a cluster."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem

# In a row, of several groups: each has its own mixing ratio.
EXAMPLES = 8
GROUP_SIZE = 2
CLUSTERS = 4
# Groups that are drawn, at most, until the rows are full.
DRAWN = 500
# Shares of a label that are worth a word.
SMALLEST_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class ShownExamples:
    """Images and their labels as training sees them.

    Attributes:
        clusters: The name of each row's cluster.
        images: [rows, examples, H, W, channels], float32, from 0 (black) to 1.
        labels: What the targets say, [rows][examples]: "7", or "7 .60 + 2 .40" of a mixed image.
    """

    clusters: list[str]
    images: np.ndarray
    labels: list[list[str]]


def shown_examples(problem: Problem, seed: int = 0) -> ShownExamples | None:
    """Return a few groups of each of the first clusters; None where examples do not change.

    Args:
        problem: With visits that make its images.
        seed: Of the groups and of what the visits do to them.
    """
    visits = problem.visits
    if visits is None or keras.backend.backend() != "tensorflow":
        return None
    from keras_apps.augmentation.pipeline import visited
    from keras_apps.augmentation.visits import AUGMENTATIONS
    from tf_gradvar.data import cluster_batches

    batches = cluster_batches(
        visits.examples,
        problem.clusters,
        num_clusters=len(problem.probabilities),
        group_size=GROUP_SIZE,
        cluster_probabilities=problem.probabilities.tolist(),
        seed=seed,
        read_ahead=False,
    )
    rows: dict[int, list[tuple[np.ndarray, np.ndarray]]]
    rows = {cluster: [] for cluster in range(min(CLUSTERS, len(problem.probabilities)))}
    shown = visited(batches, problem.x, visits, read_ahead=False).take(DRAWN)
    for inputs, targets in shown.as_numpy_iterator():
        row = rows.get(int(inputs["cluster_ids"][0]), [])
        row += [*zip(inputs["inputs"], targets, strict=True)][: EXAMPLES - len(row)]
        if all(len(row) == EXAMPLES for row in rows.values()):
            break
    full = {cluster: row for cluster, row in rows.items() if len(row) == EXAMPLES}
    black = np.array(visits.black, "float32")
    images = np.array([[image for image, _ in row] for row in full.values()]) - black
    return ShownExamples(
        [AUGMENTATIONS[k] if visits.mixes else f"cluster {k}" for k in full],
        np.clip(images / images.max(axis=(0, 1, 2, 3)), 0, 1),
        [[_words(target) for _, target in row] for row in full.values()],
    )


def _words(target: np.ndarray) -> str:
    """Return the classes that a target names, the largest first, with their shares if several."""
    if np.ndim(target) == 0:
        return str(int(target))
    order = [int(k) for k in np.argsort(-target, kind="stable") if target[k] >= SMALLEST_SHARE]
    if len(order) == 1:
        return str(order[0])
    return " + ".join(f"{k} {target[k]:.2f}".replace("0.", ".") for k in order)
