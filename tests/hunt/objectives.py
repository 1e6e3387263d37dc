"""Losses by name, each with labels that suit it."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops


def squared_rows(y_true, y_pred):
    """A function of one's own that averages the last axis, as Keras' functions do."""
    return ops.mean(ops.square(y_true - y_pred) * (1 + ops.abs(y_pred)), axis=-1)


def quartic_everywhere(y_true, y_pred):
    """A function that reduces nothing."""
    return ops.square(ops.square(y_true - y_pred))


def squared_examples(y_true, y_pred):
    """A function that gives one number for each example, whatever the rank."""
    axes = tuple(range(1, len(y_pred.shape)))
    return ops.sum(ops.square(y_true - y_pred), axis=axes)


def contrast(y_true, y_pred):
    """Similarity of each prediction to its own label against those of the others."""
    rank = len(y_pred.shape)
    predictions = ops.reshape(y_pred, (-1, int(np.prod(y_pred.shape[1:])))) if rank > 2 else y_pred
    labels = ops.reshape(y_true, ops.shape(predictions))
    scores = ops.matmul(predictions, ops.transpose(labels))
    return -ops.diagonal(ops.log_softmax(scores, axis=-1))


@dataclass(frozen=True)
class Objective:
    """A loss: how to make it, and its labels.

    Attributes:
        make: A function of the arguments that returns what `compile` takes.
        labels: `"normal"`, `"bits"`, `"signs"`, `"one_hot"`, `"counts"` or `"classes"`.
        activation: What makes the output valid for the loss where it does not take logits.
    """

    make: Any
    labels: str = "normal"
    activation: str | None = None


def _plain(function):
    def make(**arguments):
        if arguments:
            raise ValueError("A function takes no arguments.")
        return function

    return make


LOSSES = {
    "mse": Objective(keras.losses.MeanSquaredError),
    "mae": Objective(keras.losses.MeanAbsoluteError),
    "huber": Objective(keras.losses.Huber),
    "log_cosh": Objective(keras.losses.LogCosh),
    "cosine": Objective(keras.losses.CosineSimilarity),
    "poisson": Objective(keras.losses.Poisson, "counts", "softplus"),
    "hinge": Objective(keras.losses.SquaredHinge, "signs"),
    "binary": Objective(keras.losses.BinaryCrossentropy, "bits", "sigmoid"),
    "focal": Objective(keras.losses.BinaryFocalCrossentropy, "bits", "sigmoid"),
    "categorical": Objective(keras.losses.CategoricalCrossentropy, "one_hot", "softmax"),
    "sparse": Objective(keras.losses.SparseCategoricalCrossentropy, "classes", "softmax"),
    "dice": Objective(keras.losses.Dice, "bits", "sigmoid"),
    "name": Objective(_plain("mean_squared_error")),
    "short_name": Objective(_plain("mae")),
    "function": Objective(_plain(keras.losses.mean_squared_error)),
    "rows": Objective(_plain(squared_rows)),
    "everywhere": Objective(_plain(quartic_everywhere)),
    "examples": Objective(_plain(squared_examples)),
    "contrast": Objective(_plain(contrast)),
}


def make_loss(output):
    """Return the loss of an `Output`."""
    return LOSSES[output.loss].make(**output.arguments)


def make_labels(output, shape, rng):
    """Return labels for an output of this shape, batch axis included."""
    kind = LOSSES[output.loss].labels
    classes = shape[-1]
    if kind in ("one_hot", "classes"):
        labels = rng.integers(0, classes, size=shape[:-1])
        ignored = output.arguments.get("ignore_class")
        if ignored is not None:
            labels = np.where(rng.uniform(size=labels.shape) < 0.4, ignored, labels)
        if kind == "one_hot":
            return np.eye(classes, dtype="float32")[labels]
        return labels.astype("int32")[..., None] if output.labels == "expanded" else labels
    labels = {
        "normal": lambda: rng.normal(size=shape),
        "bits": lambda: rng.integers(0, 2, size=shape),
        "signs": lambda: rng.integers(0, 2, size=shape) * 2 - 1,
        "counts": lambda: rng.integers(0, 4, size=shape),
    }[kind]().astype("float32")
    if output.labels == "squeezed" and shape[-1] == 1:
        return labels[..., 0]
    return labels


def rank_of_loss(output, rank):
    """Return the rank of the unreduced loss of an output of this rank."""
    return {"examples": 1, "contrast": 1, "everywhere": rank}.get(output.loss, rank - 1)


def make_weights(output, shape, rng):
    """Return sample weights for labels of an output of this shape, or None."""
    # Labels without the last axis take that of the predictions off, too, and another for the mean.
    squeezed = output.labels == "squeezed" and shape[-1] == 1 and len(shape) > 2
    wanted = {
        None: None,
        "B": shape[:1],
        "B1": (shape[0], 1),
        "BT": shape[: rank_of_loss(output, len(shape) - squeezed)],
    }[output.sample_weight]
    if wanted is None:
        return None
    weights = rng.uniform(0.5, 2.0, size=wanted)
    return np.where(rng.uniform(size=wanted) < 0.1, 0.0, weights).astype("float32")
