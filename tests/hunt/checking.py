"""The measurements of a `Problem` against a plain loop over its examples.

The definition: the loss of an example is what Keras computes (`compile` and `compute_loss`) for a
batch of this example alone. Nothing here knows a formula for per-example gradients.
"""

import contextlib
import math
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.hunt.building import build, make_inputs, make_targets, policy_of
from tests.hunt.problem import describe
from tf_gradvar import per_example

# Largest relative error that rounding explains. What a lower precision gets wrong by less than
# `DOUBTFUL` is measured again in float64, where a real fault stays.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5, "float16": 5e-3}
DOUBTFUL = {"float32": 1e-2, "float16": 0.3}
SKETCH_SIZE = 8


class FaultError(AssertionError):
    """A wrong number, or a crash without a sentence."""


class UnusableError(Exception):
    """A problem that Keras itself does not run."""


@dataclass
class Data:
    """A built problem and its truth: losses [B] and gradients [B, *shape] of each variable."""

    problem: object
    model: object
    x: object
    y: object
    loss: object
    options: dict
    losses: np.ndarray = None
    gradients: list = field(default_factory=list)


def precision(policy):
    """Return the key of the tolerances."""
    return policy if policy in ("float32", "float64") else "float16"


def tolerance(problem):
    """Return the largest relative error that rounding explains; adapters are float32 always."""
    key = precision(problem.policy)
    return 1e-6 if key == "float64" and "lora" in problem.names() else TOLERANCE[key]


def check(problem):
    """Measure a problem; return `"right"`, `"refused"` or `"rounding"`.

    Raises:
        FaultError: For a wrong number, or an error that is no sentence of the package.
        UnusableError: If Keras does not run the problem.
    """
    error, what = _largest_error(problem)
    if error is None:
        return "refused"
    key = precision(problem.policy)
    if error <= tolerance(problem):
        return "right"
    doubtful = math.inf if key == "float16" and problem.jumps else DOUBTFUL.get(key, 0.0)
    if error < doubtful and not problem.draws_noise:
        exact = replace(problem, policy="float64")
        again, what = _largest_error(exact)
        if again is None or again <= tolerance(exact):
            return "rounding"
        error = again
    raise FaultError(f"{what} wrong by {error:.2g}\n{describe(problem)}")


def _largest_error(problem):
    """Return the largest relative error and where it is; None where the problem is refused."""
    keras.backend.clear_session()
    with policy_of(problem):
        try:
            with called(problem):  # without compiling, TensorFlow has fewer gradients on a CPU
                data = solve(problem)
        except (UnusableError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise UnusableError(f"{type(error).__name__}: {error}") from error
        try:
            with called(problem):
                errors = measure(data)
        except Exception as error:
            if problem.may_be_refused and is_a_sentence(error):
                return None, "refused"
            last = "".join(traceback.format_tb(error.__traceback__)[-3:])
            text = str(error)
            raise FaultError(
                f"{type(error).__name__}: {text[:1500]}\n{last}{describe(problem)}"
            ) from error
    return max((value, name) for name, value in errors.items())


@contextlib.contextmanager
def called(problem):
    """Functions run without compiling where the problem asks for it."""
    tf.config.run_functions_eagerly(problem.call == "plain")
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def is_a_sentence(error):
    """Whether an error was written, and raised, by the package."""
    place = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = "tf_gradvar" in Path(place).parts and "in user code" not in str(error)
    return ours and isinstance(error, ValueError | TypeError) and "`" in str(error)


def solve(problem):
    """Build the problem and work it out, one example after the other.

    Raises:
        UnusableError: If the truth is not finite.
    """
    x = make_inputs(problem)
    model = build(problem, x)
    outputs = model(x)
    y, loss, weights, factors = make_targets(problem, outputs)
    if not model.trainable_variables:
        raise UnusableError("Nothing to train.")
    model.compile(loss=loss, loss_weights=factors)
    options = {"sample_weight": weights, "loss_weights": factors}
    data = Data(problem, model, x, y, loss, options)
    losses, rows = [], []
    for i in range(problem.batch):
        value, gradients = _one_example(data, i)
        losses.append(value)
        rows.append(gradients)
    data.losses = np.array(losses, np.float64)
    data.gradients = [np.stack(column).astype(np.float64) for column in zip(*rows, strict=True)]
    if not all(np.isfinite(g).all() for g in data.gradients):
        raise UnusableError("The gradients are not finite.")
    return data


def _one_example(data, i):
    one = keras.tree.map_structure(
        lambda a: None if a is None else tf.convert_to_tensor(a[i : i + 1]),
        (data.x, data.y, data.options["sample_weight"]),
    )
    x, y, weight = one
    variables = [v.value for v in data.model.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = data.model(x)
        value = data.model.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight)
        value = tf.reduce_sum(value)
    gradients = tape.gradient(value, variables, unconnected_gradients="zero")
    return float(value), [tf.convert_to_tensor(g).numpy() for g in gradients]


def measure(data):
    """Measure everything in two ways; return the relative error of each result by name."""
    before = [np.array(w) for w in data.model.weights]
    whole = _statistics(data, data.x, data.y, data.options, None)
    order = np.random.default_rng(data.problem.seed).permutation(data.problem.batch)
    x, y, weight = keras.tree.map_structure(
        lambda a: None if a is None else a[order], (data.x, data.y, data.options["sample_weight"])
    )
    parts = _statistics(
        data, x, y, {**data.options, "sample_weight": weight}, data.problem.chunk_size
    )
    gradients = per_example.gradients(data.model, data.x, data.y, data.loss, **data.options)
    errors = _against_truth(data, whole, "")
    errors |= _against_truth(data, parts, "permuted, in chunks: ", order)
    errors["gradients"] = _relative_rows(gradients, data.gradients)
    errors["layers"] = _layers(data, whole)
    scale = 1e-30 + np.abs(whole.sketch).max()
    errors["sketch"] = np.abs(np.array(whole.sketch)[order] - parts.sketch).max() / scale
    changed = [
        np.abs(np.array(w) - old).max() for w, old in zip(data.model.weights, before, strict=True)
    ]
    errors["weights of the model"] = float(max(changed))
    return {name: float(np.nan_to_num(value, nan=np.inf)) for name, value in errors.items()}


def _statistics(data, x, y, options, chunk_size):
    def measured(x, y, sample_weight):
        return per_example.statistics(
            data.model,
            x,
            y,
            data.loss,
            sample_weight=sample_weight,
            loss_weights=options["loss_weights"],
            second_moments=True,
            per_layer=True,
            sketch_size=SKETCH_SIZE,
            seed=data.problem.seed,
            chunk_size=chunk_size,
        )._asdict()

    arguments = (x, y, options["sample_weight"])
    call = data.problem.call
    if call in ("plain", "eager") or (chunk_size is not None and call == "graph"):
        return per_example.Statistics(**measured(*arguments))
    length = [data.problem.batch if call == "graph" else None]
    specs = keras.tree.map_structure(
        lambda a: None if a is None else tf.TensorSpec([*length, *a.shape[1:]], a.dtype), arguments
    )
    given = keras.tree.map_structure(
        lambda a: None if a is None else tf.convert_to_tensor(a), arguments
    )
    compiled = tf.function(measured, autograph=False).get_concrete_function(*specs)
    flat = [a for a in tf.nest.flatten(given) if a is not None]
    return per_example.Statistics(**compiled(*flat))


def _against_truth(data, result, name, order=slice(None)):
    gradients = [g[order] for g in data.gradients]
    norms = _squared_norms(gradients)
    largest = 1e-30 + norms.max()
    errors = {
        "losses": _losses(data, result.losses, data.losses[order]),
        # Of the norm, not of its square: half of it. Tiny norms are compared with the largest.
        "squared_norms": np.max(
            np.abs(result.squared_norms - norms) / np.maximum(norms, 1e-4 * largest)
        )
        / 2,
        "mean_gradient": _relative(result.mean_gradient, [g.mean(0) for g in gradients], largest),
        "second_moments": _relative(
            result.second_moments, [(g**2).sum(0) for g in gradients], largest**2
        ),
    }
    return {name + key: value for key, value in errors.items()}


def _losses(data, actual, expected):
    """Relative error; 0 where layers add a number for the whole batch, which is no example's."""
    if data.problem.adds_losses:
        return 0.0
    return np.abs(actual - expected).max() / (1e-30 + np.abs(expected).max())


def _squared_norms(gradients):
    return sum((g.reshape(len(g), -1) ** 2).sum(1) for g in gradients)


def _relative(actual, expected, scale):
    """The length of the difference over the square root of `scale`."""
    squares = [
        ((np.asarray(a, np.float64) - e) ** 2).sum() for a, e in zip(actual, expected, strict=True)
    ]
    return np.sqrt(sum(squares) / scale)


def _relative_rows(actual, expected):
    differences = [np.asarray(a, np.float64) - e for a, e in zip(actual, expected, strict=True)]
    norms = _squared_norms(expected)
    floor = np.maximum(norms, 1e-4 * norms.max() + 1e-30)
    return np.sqrt((_squared_norms(differences) / floor).max())


def _layers(data, result):
    """Every layer's part is that of its own variables, and the parts add up."""
    names = per_example.variable_layers(data.model)
    if set(names) != set(result.layer_squared_norms):
        return np.inf
    largest = 1e-30 + _squared_norms(data.gradients).max()
    errors = []
    for layer, values in result.layer_squared_norms.items():
        own = [g for g, name in zip(data.gradients, names, strict=True) if name == layer]
        errors.append(np.abs(values - _squared_norms(own)).max() / largest)
    return max(errors)
