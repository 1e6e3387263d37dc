"""Estimators of a trajectory by name, and what brings them to the present weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory
from tf_gradvar import Discover
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.estimators import SVRG, DiscoverEstimate, Estimator, MiniBatch, Stratified
from tf_gradvar.sampling.design import DrawingRule

# Names of what is kept between two refreshes.
ASSIGNMENTS = "assignments"
SNAPSHOT = "snapshot_{}"
DISCOVER = "discover_{}"


def check_fits(trajectory: Trajectory, problem: Problem) -> None:
    """Refuse a trajectory whose batches, clusters or examples do not fit a problem.

    Raises:
        ValueError: A batch that is larger than the data, a subset that is too small for the
            clusters, or examples that belong to no cluster.
    """
    size, examples = trajectory.batch_size, len(problem.x)
    if size > examples:
        raise ValueError(
            f"`batch_size` must be at most the number of training examples, {examples}. "
            f"Received: batch_size={size}."
        )
    if trajectory.method == "subset" and trajectory.subset_size < 2 * size:
        raise ValueError(
            f"`subset_size` must be at least {2 * size}, two examples for each of the "
            f"{size} clusters of gradients. Received: subset_size={trajectory.subset_size}."
        )
    if "Discover" in trajectory.estimators and _normalises_batches(problem.build_model()):
        raise ValueError(
            "`estimators` must not hold 'Discover' for a model with batch normalization, whose "
            "moving averages the groups would change. Received: estimators="
            f"{trajectory.estimators!r}. Leave it out."
        )
    if not problem.is_in_memory:
        raise ValueError(
            "A trajectory needs examples in memory: all of them are clustered. Received: images on "
            "the disk. Take a set that fits into memory, `--set problem.source=PATH`, or leave the "
            "trajectory out."
        )
    if problem.visits is not None and problem.visits.cluster_is_drawn:
        raise ValueError(
            "A trajectory needs clusters to which examples belong. Received: clusters of "
            "augmentations, or of the noisy labels of a visit. Set `problem.clusters=classes`, or "
            "leave the trajectory out."
        )


def _normalises_batches(model: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


class ComparedEstimators:
    """The estimators of a trajectory, in its order.

    Args:
        trajectory: Names them.
        problem: The data and the strata.
        seed: Of the clustering.

    Attributes:
        estimators: What is measured.
        discover: The optimizer whose buffers are carried along, with the learning rate 0; None
            where none is compared.

    Raises:
        ValueError: Batches, clusters or examples that do not fit the problem.

    Example:
        >>> from keras_apps.experiments.classification import Classification
        >>> compared = ComparedEstimators(
        ...     Trajectory(batch_size=64), Classification("digits").build(), seed=0)
        >>> [estimator.name for estimator in compared.estimators]
        ['SG-64', 'SG-128', 'SVRG-64', 'strata-64', 'GC-64']
    """

    def __init__(self, trajectory: Trajectory, problem: Problem, seed: int) -> None:
        check_fits(trajectory, problem)
        self._loss = problem.loss
        size = trajectory.batch_size
        self._designs = designs(trajectory)
        # Any clusters at first: a refresh comes before the first measurement.
        self._assignments = np.arange(len(problem.x)) % size
        self._svrg = SVRG(size)
        self.discover: Any = None
        rule = "paper" if trajectory.clustering == "paper" else "exact"
        representation = "rank1" if trajectory.clustering == "paper" else "sketch"
        self._clustering = GradientClustering(
            size,
            representation,
            rule,
            seed=seed,
            max_passes=trajectory.clustering_passes,
            verbose=False,
        )
        self._clustered: dict[str, Stratified] = {}
        self.estimators = [self._made(name, trajectory, problem) for name in trajectory.estimators]

    def _made(self, name: str, trajectory: Trajectory, problem: Problem) -> Estimator:
        size = trajectory.batch_size
        if name == "SG":
            return MiniBatch(size)
        if name == "SG-2B":
            return MiniBatch(2 * size)
        if name == "SVRG":
            return self._svrg
        if name == "strata":
            shares = shares_of_batch(size, problem.probabilities)
            return Stratified(problem.clusters, samples_per_cluster=shares, name=f"strata-{size}")
        if name == "Discover":
            return self._discover(trajectory, problem)
        design = self._designs[name](self._assignments)
        self._clustered[name] = Stratified(design, name=f"{name}-{size}")
        return self._clustered[name]

    def _discover(self, trajectory: Trajectory, problem: Problem) -> Estimator:
        shares = problem.probabilities
        self.discover = Discover(
            0.0,
            len(shares),
            alpha=trajectory.discover_alpha,
            cluster_probabilities=shares.tolist(),
        )
        groups = trajectory.discover_groups
        return DiscoverEstimate(
            self.discover,
            problem.clusters,
            group_size=trajectory.batch_size // groups,
            groups_per_batch=groups,
            replacement=False,
        )

    def refresh(self, model: keras.Model, x: Any, y: Any) -> None:
        """Take a snapshot of the weights, and cluster the gradients of these examples.

        Args:
            model: At the present weights.
            x: Inputs [N, ...].
            y: Targets [N, ...].
        """
        if self._svrg in self.estimators:
            self._svrg.take_snapshot(model)
        if self._clustered:
            self._assign(self._clustering.fit(model, x, y, self._loss).assignments)

    @property
    def assignments(self) -> np.ndarray | None:
        """The clusters of gradients [N]; None where no estimator draws from them."""
        return self._assignments if self._clustered else None

    def state(self) -> dict[str, np.ndarray]:
        """Return what was taken at the last refresh, and the buffers, by name."""
        snapshot = self._svrg.snapshot or []
        buffers = [] if self.discover is None else self.discover.variables
        return {
            ASSIGNMENTS: self._assignments,
            **{SNAPSHOT.format(place): weight for place, weight in enumerate(snapshot)},
            **{DISCOVER.format(place): np.array(v) for place, v in enumerate(buffers)},
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` returned; an optimizer must be built."""
        places = range(len(state))
        names = [SNAPSHOT.format(place) for place in places]
        if weights := [state[name] for name in names if name in state]:
            self._svrg.set_snapshot(weights)
        if self.discover is not None:
            for place, variable in enumerate(self.discover.variables):
                variable.assign(state[DISCOVER.format(place)])
        if self._clustered:
            self._assign(state[ASSIGNMENTS])

    def _assign(self, assignments: np.ndarray) -> None:
        self._assignments = assignments
        for name, estimator in self._clustered.items():
            estimator.reassign(self._designs[name](assignments))


def designs(trajectory: Trajectory) -> dict[str, Callable[[np.ndarray], Any]]:
    """Return for each way to draw from clusters of gradients: assignments -> assignments or design.

    Example:
        >>> found = designs(Trajectory(batch_size=4, max_weight=1.5))
        >>> clusters = np.array([0, 1, 2, 3, 3, 3, 3, 3])
        >>> found["GC-proportional"](clusters).expected_draws
        array([0.5, 0.5, 0.5, 2.5])
        >>> round(float(found["GC-bounded"](clusters).weights.max()), 6)
        1.5
    """
    proportional = DrawingRule.of(batch_size=trajectory.batch_size, max_weight=None)
    bounded = DrawingRule.of(samples_per_cluster=1, max_weight=trajectory.max_weight)
    return {
        "GC": lambda assignments: assignments,
        "GC-proportional": proportional.design,
        "GC-bounded": bounded.design,
    }


def shares_of_batch(size: int, probabilities: np.ndarray) -> np.ndarray:
    """Return whole numbers of draws from each cluster, within 1 of its share, that sum to B.

    Example:
        >>> shares_of_batch(4, np.array([0.3, 0.3, 0.4]))
        array([1, 1, 2])
    """
    # Rounding the sums keeps the sum.
    bounds = np.rint(size * np.cumsum(probabilities)).astype(int)
    return np.diff(bounds, prepend=0)
