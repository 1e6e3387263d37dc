"""The problems that optimizers are compared on: data, clusters, a model and what is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_apps import least_squares, sources
from keras_apps.models import MODELS

EVALUATION_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem in memory, ready to train on.

    Attributes:
        x: Training inputs [N, ...].
        y: Training targets [N, ...].
        clusters: The cluster of each training example [N], int32.
        probabilities: The share of each cluster [K], float64.
        build_model: Makes the model; its weights depend on Keras' global seed alone.
        loss: What the model is compiled with.
        evaluate: Model -> measured values by name, over the whole data.
        score: The name of the value that should be small, by which learning rates are chosen.
        description: What the data are, in a sentence or two.
        partitions: Other clusters of the same examples [N], by name.
    """

    x: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    probabilities: np.ndarray
    build_model: Callable[[], keras.Model]
    loss: Any
    evaluate: Callable[[keras.Model], dict[str, float]]
    score: str
    description: str
    partitions: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def clustered(self, name: str | None) -> Problem:
        """The same problem with the clusters of that name, each with its share of the data.

        Args:
            name: One of `partitions`; None for the clusters that it has.
        """
        if name is None:
            return self
        clusters = self.partitions[name]
        shares = np.bincount(clusters, minlength=len(self.probabilities)) / len(clusters)
        return dataclasses.replace(self, clusters=clusters, probabilities=shares)


@dataclasses.dataclass(frozen=True)
class Classification:
    """Images into classes.

    Attributes:
        source: Name of the data set, see `keras_apps.sources`.
        split_seed: Seed of the split into training and test set, for sets that have none.
        clusters: "classes"; or "random", as many clusters as classes but drawn by chance: a
            control, which must not help.
        model: Name of the network, see `keras_apps.models`.
        model_arguments: Its arguments beside the input shape and the number of classes.
    """

    source: str = "mnist5k"
    split_seed: int = 0
    clusters: Literal["classes", "random"] = "classes"
    model: str = "mlp"
    model_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def build(self) -> Problem:
        """Load the data."""
        if self.model not in MODELS:
            raise ValueError(f"`model` must be one of {list(MODELS)}. Received {self.model!r}.")
        source = sources.load(self.source, seed=self.split_seed)
        shuffled = np.random.default_rng(self.split_seed).permutation(source.y_train)
        partitions = {"classes": source.y_train, "random": shuffled}
        clusters = partitions[self.clusters]
        sizes = np.bincount(clusters, minlength=source.num_classes)
        return Problem(
            x=source.x_train,
            y=source.y_train,
            clusters=clusters,
            probabilities=sizes / sizes.sum(),
            build_model=lambda: MODELS[self.model](
                source.input_shape, source.num_classes, **self.model_arguments
            ),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            evaluate=_ClassificationValues(source),
            score="training_loss",
            description=f"{source.description} Clusters: {self.clusters}.",
            # Those of the gradients are found in training; it starts from no better ones.
            partitions={**partitions, "gradients": shuffled},
        )


class _ClassificationValues:
    """Loss and accuracy on the training and the test set, from one pass over both."""

    def __init__(self, source: sources.Source):
        images = np.concatenate([source.x_train, source.x_test])
        # Once: Keras would copy an array anew at every evaluation.
        self._images = tf.data.Dataset.from_tensor_slices(images).batch(EVALUATION_BATCH)
        self._labels = np.concatenate([source.y_train, source.y_test])
        self._parts = {
            "training": slice(None, len(source.y_train)),
            "test": slice(len(source.y_train), None),
        }

    def __call__(self, model: keras.Model) -> dict[str, float]:
        logits = model.predict(self._images, verbose=0).astype("float64")
        largest = logits.max(axis=1)
        partition = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        losses = partition - logits[np.arange(len(logits)), self._labels]
        hits = logits.argmax(axis=1) == self._labels
        return {
            f"{part}_{name}": float(values[rows].mean())
            for part, rows in self._parts.items()
            for name, values in (("loss", losses), ("accuracy", hits))
        }


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """Least squares with an optimum of its own in each cluster, see `keras_apps.least_squares`.

    Attributes:
        num_clusters: K.
        num_features: d.
        examples_per_cluster: A run that takes fewer sees no example twice, so that its noise is
            that of the prediction.
        spread: Standard deviation of the clusters' optima around their mean, in each coordinate.
        noise: Standard deviation of the targets' noise, in each coordinate.
        smallest_curvature: The strong convexity; the largest curvature is 1.
        data_seed: Of the data.
    """

    num_clusters: int = 10
    num_features: int = 20
    examples_per_cluster: int = 20_000
    spread: float = 2.0
    noise: float = 0.3
    smallest_curvature: float = 0.2
    data_seed: int = 0

    def data(self) -> least_squares.ClusteredData:
        """Draw the data."""
        return least_squares.draw(
            num_clusters=self.num_clusters,
            num_features=self.num_features,
            examples_per_cluster=self.examples_per_cluster,
            spread=self.spread,
            noise=self.noise,
            smallest_curvature=self.smallest_curvature,
            seed=self.data_seed,
        )

    def build(self) -> Problem:
        """Draw the data."""
        data = self.data()
        return Problem(
            x=data.x,
            y=data.y,
            clusters=data.clusters,
            probabilities=np.full(self.num_clusters, 1 / self.num_clusters),
            build_model=lambda: MODELS["diagonal_linear"](self.num_features),
            loss=least_squares.half_squared_error,
            evaluate=lambda model: {"excess_risk": data.excess_risk(model.get_weights()[0])},
            score="excess_risk",
            description=(
                f"Least squares in {self.num_features} dimensions; {self.num_clusters} clusters "
                f"of {self.examples_per_cluster:,} examples, each with its own optimum."
            ),
        )
