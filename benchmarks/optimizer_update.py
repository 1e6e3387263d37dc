"""The update alone, on 36 million weights with 10 clusters, against keras SGD momentum.

    python -m benchmarks.optimizer_update [--cores 1] [--json FILE]

The gradients are given; what is timed is `correct_gradients` and `apply` of one group, or of two.
"XLA" is the same function with `jit_compile=True`. The rows of JAX run in a process of their own
(`benchmarks.optimizer_update_jax`, with KERAS_BACKEND=jax), against Keras' SGD there.
"""

import argparse
import gc
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.timing import (
    add_cores_argument,
    interleaved_medians,
    pin_tensorflow,
    print_ratios,
    ratios,
    run_pinned,
    write_json,
)
from tf_gradvar import QHM, Discover, DiscoverIGT, DiscoverOver, DiscoverQHM

NUM_CLUSTERS = 10
SHAPES = [(1024, 1024)] * 30 + [(512, 1024)] * 8 + [(1024,)] * 40


def plain(optimizer, variables, gradients, **kwargs):
    """Return a function that applies one gradient."""
    optimizer.build(variables)

    @tf.function(autograph=False, **kwargs)
    def step():
        optimizer.apply(gradients, variables)

    return step


def discover(optimizer, variables, group_gradients, **kwargs):
    """Return a function that corrects and applies the gradients of the groups."""
    optimizer.build(variables)
    num_groups = group_gradients[0].shape[0]

    @tf.function(autograph=False, **kwargs)
    def step(clusters):
        corrected = optimizer.correct_gradients(group_gradients, clusters)
        optimizer.apply(corrected, variables)

    rng = np.random.default_rng(0)

    def run():
        step(tf.constant(rng.permutation(NUM_CLUSTERS)[:num_groups], tf.int32))

    return run


def in_tensorflow(variables, gradients, groups):
    """Return the variants that TensorFlow runs one operation after the other."""
    return {
        "keras SGD momentum": plain(keras.optimizers.SGD(0.01, 0.9), variables, gradients),
        "keras Adam": plain(keras.optimizers.Adam(0.001), variables, gradients),
        "QHM": plain(QHM(0.01), variables, gradients),
        "Discover": discover(Discover(0.01, NUM_CLUSTERS), variables, groups),
        "Discover bfloat16": discover(
            Discover(0.01, NUM_CLUSTERS, buffer_dtype="bfloat16"), variables, groups
        ),
        **{
            f"Discover low rank {rank}": discover(
                Discover(0.01, NUM_CLUSTERS, buffers="low_rank", rank=rank), variables, groups
            )
            for rank in (1, 4)
        },
        "Discover gain 1": discover(Discover(0.01, NUM_CLUSTERS, gain=1.0), variables, groups),
        "DiscoverQHM": discover(DiscoverQHM(0.01, NUM_CLUSTERS), variables, groups),
        "DiscoverIGT": discover(DiscoverIGT(0.01, NUM_CLUSTERS), variables, groups),
        "DiscoverOver(Adam)": discover(
            DiscoverOver(keras.optimizers.Adam(0.001), NUM_CLUSTERS), variables, groups
        ),
    }


def compiled_by_xla(variables, gradients, groups):
    """Return the variants that XLA compiles."""
    pairs = [tf.repeat(group, 2, axis=0) for group in groups]
    xla = {"jit_compile": True}
    narrow = {"buffer_dtype": "bfloat16"}
    return {
        "keras SGD momentum": plain(keras.optimizers.SGD(0.01, 0.9), variables, gradients, **xla),
        "Discover": discover(Discover(0.01, NUM_CLUSTERS), variables, groups, **xla),
        "Discover bfloat16": discover(
            Discover(0.01, NUM_CLUSTERS, **narrow), variables, groups, **xla
        ),
        "Discover C=2": discover(Discover(0.01, NUM_CLUSTERS), variables, pairs, **xla),
    }


def main():
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_cores_argument(parser)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", help="file for the result")
    arguments = parser.parse_args()
    pin_tensorflow(arguments.cores)
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in SHAPES]
    gradients = [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES]
    groups = [gradient[tf.newaxis] for gradient in gradients]
    weights = sum(int(np.prod(shape)) for shape in SHAPES)
    title = f"Update of {weights / 1e6:.1f} million weights, K = {NUM_CLUSTERS}"
    repeats, result = arguments.repeats, {}
    for name, timed in (
        ("", lambda: interleaved_medians(in_tensorflow(variables, gradients, groups), repeats)),
        (
            ", XLA",
            lambda: interleaved_medians(compiled_by_xla(variables, gradients, groups), repeats),
        ),
        (", JAX", lambda: on_jax(arguments.cores, repeats)),
    ):
        medians = timed()
        gc.collect()  # the buffers of the one before the next
        print_ratios(title + name, medians, "keras SGD momentum")
        result[f"update{name}"] = {
            "seconds": medians,
            "ratios": ratios(medians, "keras SGD momentum"),
        }
    if arguments.json:
        write_json(arguments.json, {"cores": arguments.cores, **result})


def on_jax(cores, repeats):
    """Return the medians of `benchmarks.optimizer_update_jax`."""
    command = ["-m", "benchmarks.optimizer_update_jax", str(repeats)]
    return json.loads(run_pinned(command, cores, {"KERAS_BACKEND": "jax"}).splitlines()[-1])


if __name__ == "__main__":
    main()
