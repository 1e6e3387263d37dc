"""Measures one real network in this process: errors, fallbacks, time and memory.

TF_CPU_ALLOCATOR_USE_BFC=1 python -m benchmarks.real_worker ResNet50
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import real_networks
from benchmarks.timing import allocated_mib, finished, interleaved_medians
from tf_gradvar import per_example
from tf_gradvar.per_example.recording import fallback

BATCH = 8
CHECKED = 4  # examples that the loop goes through
TIMED_SECONDS, ROUNDS = 10.0, (3, 25)
# Larger errors are looked at once more against float64: they may be those of the loop.
ROUNDING = 1e-5


def _loss() -> Any:
    """A loss of the present precision."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def main() -> None:
    """Parse the command line and print the result as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=real_networks.names())
    print(json.dumps(measure(parser.parse_args().network)))


def measure(name: str) -> dict[str, Any]:
    """All columns of the table for one network."""
    network = real_networks.build(name)
    model = network.model
    x, y = tf.nest.map_structure(tf.constant, network.data(BATCH))
    plain = _plain_step(model, x, y)
    ours = _compiled_norms(model)
    fallbacks = _watch_fallbacks()
    first_call = {
        "plain": _seconds(lambda: plain(x, y)),
        "squared_norms": _seconds(lambda: ours(x, y)),
    }
    found = ours(x, y).numpy()[:CHECKED]
    loop = loop_norms(plain, network)
    result = {
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "largest_relative_error": _largest_error(found, loop),
        "fallback_layers": dict(Counter(type(layer).__name__ for layer in fallbacks.values())),
        "first_call_seconds": first_call,
    }
    result |= _costs(lambda: finished(plain)(x, y), lambda: finished(ours)(x, y))
    if not result["largest_relative_error"] < ROUNDING:
        result |= _errors_in_float64(name, model, found, loop)
    return result


def loop_norms(step: Callable[[Any, Any], Any], network: real_networks.Network) -> np.ndarray:
    """Squared norms of the gradients of single examples, one backward pass for each.

    Args:
        step: `(x, y)` -> gradients of the mean loss of a batch, here of one example.
        network: Where the examples come from.

    Returns:
        float64 `[CHECKED]`.
    """
    data = network.data(BATCH)
    if keras.config.floatx() == "float64":
        data = _as_float64(data)
    norms = []
    for index in range(CHECKED):
        one_x, one_y = tf.nest.map_structure(lambda a, i=index: a[i : i + 1], data)
        gradients = [tf.convert_to_tensor(g).numpy() for g in step(one_x, one_y) if g is not None]
        norms.append(sum(np.square(g, dtype=np.float64).sum() for g in gradients))
    return np.array(norms)


def _plain_step(model: Any, x: Any, y: Any) -> Any:
    """One forward and backward pass for all weights, for any number of examples."""
    loss = _loss()
    weights = [variable.value for variable in model.trainable_variables]

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=False))
        return tape.gradient(value, weights)

    specs = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), (x, y))
    return tf.function(step, input_signature=specs, autograph=False)


def _compiled_norms(model: Any) -> Any:
    loss = _loss()
    return tf.function(lambda x, y: per_example.squared_norms(model, x, y, loss), autograph=False)


def _watch_fallbacks() -> dict[int, Any]:
    """Layers that come to the fallback from now on, by their id."""
    found: dict[int, Any] = {}
    real = fallback.layer_gradients

    def noting(unit: Any, *arguments: Any, **options: Any) -> Any:
        found[id(unit.layer)] = unit.layer
        return real(unit, *arguments, **options)

    fallback.layer_gradients = noting
    return found


def _costs(plain: Callable[[], Any], ours: Callable[[], Any]) -> dict[str, Any]:
    """Processor time and memory of both, and their ratios."""
    once = _seconds(plain) + _seconds(ours)
    rounds = int(np.clip(TIMED_SECONDS / once, *ROUNDS))
    variants = {"plain": plain, "squared_norms": ours}
    medians = interleaved_medians(variants, rounds, warmup=1, clock=time.process_time)
    memory = {name: allocated_mib(run) for name, run in variants.items()}
    return {
        "seconds": medians,
        "rounds": rounds,
        "time_over_plain": medians["squared_norms"] / medians["plain"],
        "mib": memory,
        "memory_over_plain": memory["squared_norms"] / memory["plain"],
    }


def _errors_in_float64(name: str, model: Any, ours: np.ndarray, loop: np.ndarray) -> dict[str, Any]:
    """The same comparison with all weights and data in float64, and what float32 has rounded."""
    try:
        with _float64():
            network = real_networks.build(name)
            network.model.set_weights([w.astype("float64") for w in model.get_weights()])
            x, y = _as_float64(network.data(BATCH))
            exact = loop_norms(_plain_step(network.model, x, y), network)
            mine = _compiled_norms(network.model)(x, y).numpy()[:CHECKED]
    except Exception as error:  # some layers compute in float32 whatever they are told
        return {"float64": f"not feasible: {type(error).__name__}: {str(error)[:200]}"}
    return {
        "error_in_float64": _largest_error(mine, exact),
        "float32_error_to_float64": _largest_error(ours, exact),
        "loop_float32_error_to_float64": _largest_error(loop, exact),
    }


class _float64:  # noqa: N801
    """Everything that is built in here computes in float64."""

    def __enter__(self) -> None:
        self._before = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")

    def __exit__(self, *_: Any) -> None:
        keras.config.set_floatx(self._before[0])
        keras.config.set_dtype_policy(self._before[1])


def _as_float64(data: Any) -> Any:
    return tf.nest.map_structure(
        lambda a: tf.constant(a, tf.float64 if a.dtype == np.float32 else a.dtype), data
    )


def _largest_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(found - exact) / exact))


def _seconds(run: Callable[[], Any]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
