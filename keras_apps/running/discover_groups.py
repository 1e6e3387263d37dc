"""Groups of one cluster for the buffers of Discover, which the training itself never sees."""

from __future__ import annotations

from typing import Any

import keras

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.data import cluster_batches
from tf_gradvar.training import ClusterModel


class DiscoverGroups(keras.callbacks.Callback):
    """Moves the buffers of a Discover optimizer before each step, at the weights of the step.

    The optimizer has the learning rate 0: the weights stay what they are, bit for bit.

    Args:
        model: That is trained.
        optimizer: With the learning rate 0, built.
        trajectory: Says how many groups there are in a step.
        problem: The data and their clusters.
        seed: Of the groups.

    Cost: a training step of `ClusterModel` for each step.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        trajectory: Trajectory,
        problem: Problem,
        seed: int,
    ) -> None:
        super().__init__()
        groups = trajectory.discover_groups
        self._network = ClusterModel.from_model(model, groups_per_batch=groups)
        self._network.compile(optimizer, loss=problem.loss)
        self._problem, self._seed = problem, seed
        self._options = {
            "num_clusters": len(problem.probabilities),
            "group_size": trajectory.batch_size // groups,
            "groups_per_batch": groups,
            "cluster_probabilities": problem.probabilities.tolist(),
            "seed": seed,
            "read_ahead": False,
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go on with the batch of the step."""
        self._batches = iter(self._drawn(steps_taken(self.model)))

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the optimizer one batch of groups."""
        self._network.train_on_batch(*next(self._batches))

    def _drawn(self, step: int) -> Any:
        visits = self._problem.visits
        data = (self._problem.x, self._problem.y) if visits is None else visits.examples
        batches = cluster_batches(data, self._problem.clusters, **self._options)
        if step:
            state = batches.sampling.state(step)
            batches = cluster_batches(data, self._problem.clusters, state=state, **self._options)
        if visits is None:
            return batches
        from keras_apps.augmentation.pipeline import visited

        return visited(batches, self._problem.x, visits, read_ahead=False)
