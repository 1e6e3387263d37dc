"""Two Gaussian classes in the plane and a linear classifier: a problem that can be drawn."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import keras
import numpy as np

from keras_apps.experiments.training_problem import LATER, Problem, ProblemDefinition


@dataclasses.dataclass(slots=True)
class TwoGaussians(ProblemDefinition):
    """Two classes, one above and one below the first axis.

    Attributes:
        examples_per_class: n.
        distance: Of each class's centre from the first axis.
        deviations: Standard deviations along the two axes.
        start: The weights of the classifier, for each axis and the bias, before training.
        data_seed: Seed of the points.
    """

    examples_per_class: int = 60
    distance: float = 2.0
    deviations: tuple[float, ...] = (1.2, 0.6)
    start: tuple[float, ...] = (1.0, 0.3, 0.0)
    data_seed: int = 0

    def build(self) -> Problem:
        """Draw the points."""
        generator = np.random.default_rng(self.data_seed)
        centre = np.array([0.0, self.distance])
        noise = generator.normal(size=(2, self.examples_per_class, 2)) * self.deviations
        points = np.concatenate([noise[0] - centre, noise[1] + centre]).astype("float32")
        classes = np.repeat([0, 1], self.examples_per_class)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        return Problem(
            x=points,
            y=classes[:, None].astype("float32"),
            clusters=classes,
            probabilities=np.full(2, 0.5),
            build_model=self._classifier,
            loss=loss,
            evaluate=lambda model: {"training_loss": float(loss(classes[:, None], model(points)))},
            score="training_loss",
            description=(
                f"Two Gaussian classes of {self.examples_per_class} points in the plane, and a "
                "linear classifier with a bias."
            ),
        )

    def _classifier(self) -> keras.Model:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        *kernel, bias = self.start
        model.set_weights([np.reshape(kernel, (2, 1)), np.array([bias])])
        return model


@dataclasses.dataclass(slots=True)
class ClusterPicture:
    """A linear classifier after some steps of gradient descent, and clusters of its gradients.

    Attributes:
        title: What the report is headed with.
        problem: The points and the classifier.
        steps: Of gradient descent on all the points, before the clusters are found.
        moments: Other numbers of steps that get a picture each.
        learning_rate: Of these steps.
        num_clusters: K.
        step_size: How far along a cluster's mean gradient its predicted boundary lies.
        seed: Seed of the clustering.
    """

    command: ClassVar[str] = "keras_apps.cluster_picture"

    title: str
    problem: TwoGaussians = dataclasses.field(default_factory=TwoGaussians)
    steps: int = 10
    learning_rate: float = 0.3
    num_clusters: int = 4
    step_size: float = 1.0
    seed: int = 0
    moments: tuple[int, ...] = dataclasses.field(default=(0, 3, 30), metadata=LATER)

    def check(self) -> None:
        """Refuse numbers of steps that are none.

        Raises:
            ValueError: A negative one.
        """
        if min((self.steps, *self.moments)) < 0:
            raise ValueError(
                "`steps` and `moments` must be numbers of steps from 0 up. Received: "
                f"steps={self.steps}, moments={self.moments}."
            )
