"""Batches of a trajectory, and the examples that are measured, as a visit shows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory

# Numbers of batches that no training reaches: visits for measuring are others than those.
MEASURED = 1 << 40
NUMBERS_OF_A_VISIT = 1 << 16
ROWS_AT_ONCE = 1024


def rows_of_steps(examples: int, size: int, seed: int, first: int, last: int) -> np.ndarray:
    """Return the examples of the batches of the steps from `first` to below `last`, [steps, B].

    Each epoch is a permutation of its own, whose last batch is dropped where it is not full.

    Args:
        examples: N.
        size: B.
        seed: Of the order.
        first: The first step, from 0.
        last: The step after the last one.

    Example:
        >>> rows_of_steps(5, 2, 0, 0, 3).shape
        (3, 2)
    """
    epochs = range(first // (examples // size), (last - 1) // (examples // size) + 1)
    orders = {e: np.random.default_rng([seed, e]).permutation(examples) for e in epochs}
    places = [divmod(step, examples // size) for step in range(first, last)]
    return np.array([orders[e][place * size : (place + 1) * size] for e, place in places])


def training_batches(
    trajectory: Trajectory, problem: Problem, seed: int, first: int, last: int
) -> Any:
    """Return the batches of some steps, a `tf.data.Dataset`; each depends on its step alone.

    Args:
        trajectory: Of the steps.
        problem: The data, and what a visit makes of them.
        seed: Of this trajectory.
        first: The first step, from 0.
        last: The step after the last one.
    """
    import tensorflow as tf

    rows = rows_of_steps(len(problem.x), trajectory.batch_size, seed, first, last)
    if problem.visits is None:
        x, y = tf.constant(problem.x), tf.constant(problem.y)
        return tf.data.Dataset.from_tensor_slices(rows).map(
            lambda chosen: (tf.gather(x, chosen), tf.gather(y, chosen))
        )
    show = _show(problem, seed)
    numbers = np.arange(first, last)
    return tf.data.Dataset.from_tensor_slices((numbers, rows)).map(show)


class MeasuredExamples:
    """The examples that are measured: those of the problem, or one fresh visit of each of them.

    Args:
        problem: The data, and what a visit makes of them.
        seed: Of the visits.

    Attributes:
        x: Inputs [N, ...]; with visits, an array of its own that `renew` overwrites.
        y: Targets [N, ...], likewise.

    Memory: with visits, a copy of the data.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        changing = problem.visits is not None
        self._show = _show(problem, seed) if changing else None
        self.x = problem.x.copy() if changing else problem.x
        self.y = problem.y.copy() if changing else problem.y

    def renew(self, number: int) -> None:
        """Show every example once more; the same number shows the same."""
        if self._show is None:
            return
        first = MEASURED + NUMBERS_OF_A_VISIT * number
        for place, start in enumerate(range(0, len(self.x), ROWS_AT_ONCE)):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(self.x)))
            x, y = self._show(first + place, rows)
            self.x[rows], self.y[rows] = x.numpy(), y.numpy()


def _show(problem: Problem, seed: int) -> Any:
    """Return (number, rows) -> (images, targets), a function of the two alone."""
    import tensorflow as tf

    from keras_apps.augmentation.image_stores import store_of
    from keras_apps.augmentation.pipeline import Show

    show = Show(store_of(problem.x), problem.visits, seed, group_size=1)
    labels = tf.constant(problem.visits.labels)

    def shown(number: Any, rows: Any) -> tuple[Any, Any]:
        rows = tf.convert_to_tensor(rows)
        no_clusters = tf.zeros_like(rows, tf.int32)
        batch = {"inputs": rows, "cluster_ids": no_clusters}, tf.gather(labels, rows)
        inputs, targets = show(tf.cast(number, tf.int64), batch)
        return inputs["inputs"], targets

    return shown
