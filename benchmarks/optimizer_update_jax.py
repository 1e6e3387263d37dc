"""The rows of `benchmarks.optimizer_update` on JAX, in a process of its own.

    KERAS_BACKEND=jax python -m benchmarks.optimizer_update_jax REPEATS

The state is donated, as Keras' trainer on JAX does. Prints the median seconds as JSON.
"""

import json
import sys

import jax
import keras
import numpy as np

from benchmarks.timing import interleaved_medians
from tf_gradvar.optimizers import Discover

NUM_CLUSTERS = 10
SHAPES = [(1024, 1024)] * 30 + [(512, 1024)] * 8 + [(1024,)] * 40


def compiled(optimizer, rows):
    """Return a function that takes one step; rows [C, *shape] for Discover, [*shape] for SGD."""
    variables = [keras.Variable(np.zeros(shape, "float32")) for shape in SHAPES]
    optimizer.build(variables)
    state = [*optimizer.variables, *variables]
    corrects = isinstance(optimizer, Discover)
    rng = np.random.default_rng(0)

    def pure(values, gradients, clusters):
        with keras.StatelessScope(list(zip(state, values, strict=True))) as scope:
            if corrects:
                gradients = optimizer.correct_gradients(gradients, clusters)
            optimizer.apply(gradients)
        return [scope.get_current_value(variable) for variable in state]

    step = jax.jit(pure, donate_argnums=0)
    held = [[variable.value for variable in state]]

    def run():
        clusters = rng.permutation(NUM_CLUSTERS)[: len(rows[0]) if corrects else 1]
        held[0] = step(held[0], rows, clusters.astype("int32"))
        jax.block_until_ready(held[0])

    return run


def main(repeats):
    """Measure and print."""
    rng = np.random.default_rng(0)
    gradients = [jax.numpy.asarray(rng.normal(size=s), "float32") for s in SHAPES]
    one, two = ([jax.numpy.stack([g] * n) for g in gradients] for n in (1, 2))
    narrow = Discover(0.01, NUM_CLUSTERS, buffer_dtype="bfloat16")
    variants = {
        "keras SGD momentum": compiled(keras.optimizers.SGD(0.01, 0.9), gradients),
        "Discover": compiled(Discover(0.01, NUM_CLUSTERS), one),
        "Discover bfloat16": compiled(narrow, one),
        "Discover C=2": compiled(Discover(0.01, NUM_CLUSTERS), two),
    }
    print(json.dumps(interleaved_medians(variants, repeats)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
