"""Clusters of the gradients of a linear classifier in the plane."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.two_gaussians import ClusterPicture
from tf_gradvar import GradientClustering
from tf_gradvar.per_example import gradients


@dataclasses.dataclass(frozen=True)
class Found:
    """What is drawn.

    Attributes:
        steps: That were taken before.
        weights: Of the classifier now, two for the axes and the bias, [3].
        gradients: Of each point's loss, [N, 3].
        assignments: The cluster of each point, [N].
        variance_ratio: V[GC] / V[SG-B] for B = K.
    """

    steps: int
    weights: np.ndarray
    gradients: np.ndarray
    assignments: np.ndarray
    variance_ratio: float

    @property
    def clusters(self) -> range:
        """The numbers of the clusters."""
        return range(self.assignments.max() + 1)

    def moved(self, cluster: int, step_size: float) -> np.ndarray:
        """Return the weights [3] after a step along a cluster's mean gradient."""
        mean = self.gradients[self.assignments == cluster].mean(axis=0)
        return self.weights - step_size * mean

    def within_share(self, vectors: np.ndarray) -> float:
        """Return the part of the variance of some vectors [N, d] that is within the clusters."""
        parts = [vectors[self.assignments == k] for k in np.unique(self.assignments)]
        within = sum(np.square(part - part.mean(axis=0)).sum() for part in parts)
        return float(within / np.square(vectors - vectors.mean(axis=0)).sum())


def find(config: ClusterPicture, problem: Problem, steps: int) -> Found:
    """Train the classifier for so many steps and cluster its gradients."""
    model = problem.build_model()
    model.compile(keras.optimizers.SGD(config.learning_rate), problem.loss)
    if steps:
        model.fit(problem.x, problem.y, batch_size=len(problem.x), epochs=steps, verbose=0)
    clustering = GradientClustering(
        config.num_clusters, "full", seed=config.seed, max_passes=100, verbose=False
    )
    result = clustering.fit(model, problem.x, problem.y, problem.loss)
    rows = gradients(model, problem.x, problem.y, problem.loss)
    return Found(
        steps=steps,
        weights=np.concatenate([np.ravel(weights) for weights in model.get_weights()]),
        gradients=np.concatenate([np.reshape(row, (len(problem.x), -1)) for row in rows], axis=1),
        assignments=result.assignments,
        variance_ratio=float(result.variance_ratio),
    )
