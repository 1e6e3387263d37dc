"""Each problem is built and worked out by brute force once."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from tests.oracles import per_example_oracle as oracle
from tests.problems import EXAMPLES, PROBLEMS, Problem


@dataclass(frozen=True)
class Solved:
    """A problem in float32 and float64 with the gradients of every example."""

    problem: Problem
    model: keras.Model
    model64: keras.Model
    loss: Any
    loss64: Any
    x: Any
    y: Any
    options: dict[str, Any]
    others: list[np.ndarray]  # a second weight setting, of the trainable variables
    gradients: list[np.ndarray]
    other_gradients: list[np.ndarray]


_cache: dict[str, Solved] = {}


def solve(problem: Problem) -> Solved:
    if problem.name not in _cache:
        _cache[problem.name] = _solve(problem)
    return _cache[problem.name]


def _solve(problem: Problem) -> Solved:
    rng = np.random.default_rng(7)
    keras.utils.set_random_seed(3)
    model, loss = problem.build(), problem.loss()
    for weight in model.weights:
        if "seed" not in weight.path:
            # Scales, shifts and statistics of normalisations must not be all ones and zeros.
            noise = 0.3 * rng.normal(size=weight.shape)
            weight.assign(
                np.abs(weight.numpy() + noise) + 0.1
                if "variance" in weight.path
                else weight.numpy() + noise
            )
    x, y = problem.x(rng), problem.y(rng)
    x, y = keras.tree.map_structure(_float32_values, (x, y))
    options: dict[str, Any] = {"loss_weights": problem.loss_weights}
    if problem.sample_weight:
        options["sample_weight"] = _float32_values(rng.uniform(0.5, 2.0, size=EXAMPLES))
    with oracle.float64():
        model64, loss64 = problem.build(), problem.loss()
        model64.set_weights([w.astype("float64") for w in model.get_weights()])
        gradients = oracle.loop_gradients(model64, x, y, loss64, **options)
        own = [v.numpy() for v in model64.trainable_variables]
        others = [_float32_values(w + 0.2 * rng.normal(size=w.shape)) for w in own]
        _assign(model64, others)
        other_gradients = oracle.loop_gradients(model64, x, y, loss64, **options)
        _assign(model64, own)
    return Solved(
        problem, model, model64, loss, loss64, x, y, options, others, gradients, other_gradients
    )


def _float32_values(array: np.ndarray) -> np.ndarray:
    """Float data that both precisions can hold exactly."""
    return array if array.dtype.kind == "i" else array.astype("float32").astype("float64")


def _assign(model: keras.Model, values: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)


@pytest.fixture(params=PROBLEMS, ids=lambda problem: problem.name)
def solved(request) -> Solved:
    return solve(request.param)
