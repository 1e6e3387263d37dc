"""The update alone, on 36 million weights with 10 clusters, against keras SGD momentum.

    python -m benchmarks.optimizer_update [--cores 1] [--json FILE]

The gradients are given; what is timed is `correct_gradients` and `apply` of one group.
"""

import argparse
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
    write_json,
)
from tf_gradvar import QHM, Discover, DiscoverIGT, DiscoverOver, DiscoverQHM

NUM_CLUSTERS = 10
SHAPES = [(1024, 1024)] * 30 + [(512, 1024)] * 8 + [(1024,)] * 40


def plain(optimizer, variables, gradients):
    """Return a function that applies one gradient."""
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step():
        optimizer.apply(gradients, variables)

    return step


def discover(optimizer, variables, group_gradients):
    """Return a function that corrects and applies the gradient of one group."""
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(cluster):
        corrected = optimizer.correct_gradients(group_gradients, cluster)
        optimizer.apply(corrected, variables)

    clusters = np.random.default_rng(0)

    def run():
        step(tf.constant([clusters.integers(NUM_CLUSTERS)], tf.int32))

    return run


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
    variants = {
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
        "DiscoverQHM": discover(DiscoverQHM(0.01, NUM_CLUSTERS), variables, groups),
        "DiscoverIGT": discover(DiscoverIGT(0.01, NUM_CLUSTERS), variables, groups),
        "DiscoverOver(Adam)": discover(
            DiscoverOver(keras.optimizers.Adam(0.001), NUM_CLUSTERS), variables, groups
        ),
    }
    medians = interleaved_medians(variants, repeats=arguments.repeats, warmup=2)
    weights = sum(int(np.prod(shape)) for shape in SHAPES)
    title = f"Update of {weights / 1e6:.1f} million weights, K = {NUM_CLUSTERS}"
    print_ratios(title, medians, "keras SGD momentum")
    if arguments.json:
        result = {"seconds": medians, "ratios": ratios(medians, "keras SGD momentum")}
        write_json(arguments.json, {"cores": arguments.cores, **result})


if __name__ == "__main__":
    main()
