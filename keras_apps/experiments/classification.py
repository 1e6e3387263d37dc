"""Images into classes, which are the clusters unless a configuration says otherwise."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import keras
import numpy as np

from keras_apps import sources
from keras_apps.experiments.training_problem import Problem, ProblemDefinition
from keras_apps.models import MODELS

EVALUATION_BATCH = 1000
EVALUATION_BATCH_OF_JAX = 960  # divides among 2, 3, 4, 5, 6 or 8 devices


@dataclasses.dataclass(slots=True)
class Classification(ProblemDefinition):
    """Images into classes.

    Attributes:
        source: Name of the data set, or the path of your own, see `keras_apps.sources`.
        split_seed: Seed of the split into training and test set, for sets that have none.
        clusters: "classes"; or "random", as many clusters as classes but drawn by chance: a
            control, which must not help.
        model: Name of the network, see `keras_apps.models`.
        model_arguments: Its arguments beside the input shape and the number of classes.
        evaluation_examples: Training examples on which loss and accuracy are evaluated, drawn once
            by the `split_seed`; None for all.
    """

    partition_names: ClassVar[tuple[str, ...]] = ("classes", "random", "gradients")

    source: str = "mnist5k"
    split_seed: int = 0
    clusters: Literal["classes", "random"] = "classes"
    model: str = "mlp"
    model_arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    evaluation_examples: int | None = None

    def build(self) -> Problem:
        """Load the data.

        Raises:
            ValueError: A model or a data set that is not known, or more examples to evaluate on
                than there are.
            ImportError, ConnectionError: A data set that is not at hand.
        """
        if self.model not in MODELS:
            raise ValueError(
                f"`model` must be one of {list(MODELS)}. Received: model={self.model!r}."
            )
        source = sources.load(self.source, seed=self.split_seed)
        rows = self._evaluated_rows(len(source.y_train))
        shuffled = np.random.default_rng(self.split_seed).permutation(source.y_train)
        # Clusters of gradients are found in training; it starts from no better ones.
        partitions = {"classes": source.y_train, "random": shuffled, "gradients": shuffled}
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
            evaluate=_LossAndAccuracy(source, rows),
            score="training_loss",
            description=f"{source.description} Clusters: {self.clusters}.{self._evaluated_on()}",
            partitions=partitions,
            fingerprint=source.fingerprint,
        )

    def _evaluated_rows(self, examples: int) -> np.ndarray:
        count = examples if self.evaluation_examples is None else self.evaluation_examples
        if not 1 <= count <= examples:
            raise ValueError(
                f"`evaluation_examples` must be from 1 to the number of training examples, "
                f"{examples}. Received: evaluation_examples={self.evaluation_examples}."
            )
        # All of them in their order, or a few: the order changes the rounding of the mean.
        if count == examples:
            return np.arange(examples)
        return np.sort(np.random.default_rng(self.split_seed).permutation(examples)[:count])

    def _evaluated_on(self) -> str:
        if self.evaluation_examples is None:
            return ""
        return (
            " Training loss and accuracy are evaluated on the same "
            f"{self.evaluation_examples:,} training examples every time."
        )


class _LossAndAccuracy:
    """Loss and accuracy on rows of the training set and on the test set, from one pass."""

    def __init__(self, source: sources.Source, rows: np.ndarray):
        labels = source.y_train[rows]
        images = np.concatenate([source.x_train[rows], source.x_test])
        self._batches = _batches_of(images)
        self._labels = np.concatenate([labels, source.y_test])
        self._parts = {
            "training": slice(None, len(labels)),
            "test": slice(len(labels), None),
        }

    def __call__(self, model: keras.Model) -> dict[str, float]:
        logits = model.predict(**self._batches, verbose=0)[: len(self._labels)].astype("float64")
        largest = logits.max(axis=1)
        partition = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
        losses = partition - logits[np.arange(len(logits)), self._labels]
        hits = logits.argmax(axis=1) == self._labels
        return {
            f"{part}_{name}": float(values[rows].mean())
            for part, rows in self._parts.items()
            for name, values in (("loss", losses), ("accuracy", hits))
        }


def _batches_of(images: np.ndarray) -> dict[str, Any]:
    """Return arguments of `predict` for images and, on JAX, zeros that fill the last batch.

    There, a batch must divide among the devices.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Once: Keras would copy an array anew at every evaluation.
        return {"x": tf.data.Dataset.from_tensor_slices(images).batch(EVALUATION_BATCH)}
    missing = -len(images) % EVALUATION_BATCH_OF_JAX
    filled = np.concatenate([images, np.zeros_like(images, shape=(missing, *images.shape[1:]))])
    return {"x": filled, "batch_size": EVALUATION_BATCH_OF_JAX}
