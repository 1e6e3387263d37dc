"""A problem small enough to enumerate: 6 examples, a network of 17 weights, in float64."""

import contextlib
from dataclasses import dataclass

import keras
import numpy as np

from tests.oracles import per_example_oracle

N, INPUTS, HIDDEN, OUTPUTS = 6, 3, 3, 1
ASSIGNMENTS = np.array([1, 0, 1, 2, 0, 1])


@dataclass(frozen=True)
class Problem:
    model: keras.Model
    x: np.ndarray
    y: np.ndarray
    loss: str
    gradients: np.ndarray  # [N, P]
    snapshot: list
    at_snapshot: np.ndarray  # [N, P]

    @property
    def data(self):
        return self.model, self.x, self.y, self.loss


def make(precision="float64", count=N):
    """The problem, with gradients worked out in float64."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(count, INPUTS)), rng.normal(size=(count, OUTPUTS))
    x, y = (a.astype("float32").astype("float64") for a in (x, y))
    with per_example_oracle.float64():
        exact = build()
        snapshot = [w.astype("float32").astype("float64") for w in exact.get_weights()]
        at_snapshot = flat_gradients(exact, x, y)
        weights = [w + 0.3 * rng.normal(size=w.shape) for w in snapshot]
        weights = [w.astype("float32").astype("float64") for w in weights]
        exact.set_weights(weights)
        gradients = flat_gradients(exact, x, y)
    with per_example_oracle.float64() if precision == "float64" else contextlib.nullcontext():
        model = build()
    model.set_weights(weights)
    x, y = x.astype(precision), y.astype(precision)
    return Problem(model, x, y, "mse", gradients, snapshot, at_snapshot)


def build():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(HIDDEN, "tanh", name="hidden"), keras.layers.Dense(OUTPUTS)]
    return keras.Sequential([keras.Input((INPUTS,)), *layers])


def flat_gradients(model, x, y):
    rows = per_example_oracle.loop_gradients(model, x, y, keras.losses.MeanSquaredError())
    return per_example_oracle.flat(rows)


def split(flat, model):
    """A vector [..., P] as a list of arrays [..., *shape], in the order of the variables."""
    parts, start = [], 0
    for variable in model.trainable_variables:
        size = int(np.prod(variable.shape))
        part = flat[..., start : start + size]
        parts.append(part.reshape(*flat.shape[:-1], *variable.shape))
        start += size
    return parts
