"""Memory of the buffers on ResNet-50, in full and of low rank, and a step with 1 000 clusters.

    python -m benchmarks.low_rank_memory [--clusters 1000] [--rank 1] [--json FILE]

The table follows from the shapes of the variables. The step is real: a `ClusterModel` of ResNet-50
with a cluster for every class, on groups of random images of 64 x 64.
"""

import argparse
import math
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks.timing import write_json
from tf_gradvar import ClusterModel, Discover
from tf_gradvar.optimizers.low_rank import as_matrix, is_reduced

CLASSES, SIDE = 1000, 64
CLUSTERS, RANKS = (10, 100, 1000), (1, 2, 4)


def megabytes(shapes, clusters, rank=None, size=4):
    """Return the memory of all buffers; `size` is the bytes of a number that K buffers hold."""
    total = 0
    for shape in shapes:
        weights = math.prod(shape)
        if rank is not None and is_reduced(shape, rank):
            total += size * clusters * rank * sum(as_matrix(shape)) + 8 * weights
        else:
            total += (size * clusters + 4) * weights
    return total / 1e6


def print_table(shapes):
    """Print the memory for each kind of buffers and number of clusters, and return it."""
    kinds = {"full": {}, "full, bfloat16": {"size": 2}}
    kinds |= {f"low rank {rank}": {"rank": rank} for rank in RANKS}
    kinds |= {f"low rank {rank}, bfloat16": {"rank": rank, "size": 2} for rank in RANKS}
    weights = sum(math.prod(shape) for shape in shapes)
    print(f"Buffers of ResNet-50, {weights:,} trainable weights, in MB")
    print(f"{'':22s}" + "".join(f"{f'K = {clusters}':>12s}" for clusters in CLUSTERS))
    table = {}
    for name, options in kinds.items():
        table[name] = [megabytes(shapes, clusters, **options) for clusters in CLUSTERS]
        print(f"{name:22s}" + "".join(f"{value:12,.0f}" for value in table[name]), flush=True)
    return table


def peak_gigabytes():
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def train(model, arguments):
    """Build the buffers, take steps, and return what they took."""
    before = peak_gigabytes()
    model = ClusterModel.from_model(model, groups_per_batch=arguments.groups)
    optimizer = Discover(0.01, arguments.clusters, buffers="low_rank", rank=arguments.rank)
    loss = keras.losses.SparseCategoricalCrossentropy()
    model.compile(optimizer, loss, jit_compile=arguments.jit)
    start = time.perf_counter()
    optimizer.build(model.trainable_variables)
    result = {"peak_gigabytes_before": before, "build_seconds": time.perf_counter() - start}
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(arguments.steps):
        ids = rng.choice(arguments.clusters, arguments.groups, replace=False)
        ids = np.repeat(ids, arguments.group_size).astype("int32")
        x = rng.normal(size=(len(ids), SIDE, SIDE, 3)).astype("float32")
        start = time.perf_counter()
        loss = model.train_on_batch({"inputs": x, "cluster_ids": ids}, ids % CLASSES)
        seconds.append(time.perf_counter() - start)
    result |= {"step_seconds": seconds, "loss": float(loss), "peak_gigabytes": peak_gigabytes()}
    print(
        f"K = {arguments.clusters}, rank {arguments.rank}, {arguments.groups} groups of "
        f"{arguments.group_size}: built in {result['build_seconds']:.1f} s; first step "
        f"{seconds[0]:.1f} s, then {min(seconds[1:], default=seconds[0]):.1f} s; "
        f"loss {result['loss']:.2f}; peak memory of the process "
        f"{before:.1f} GB before, {result['peak_gigabytes']:.1f} GB after."
    )
    return result


def main():
    """Parse the arguments, print the table and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--jit", action="store_true", help="compile the step with XLA")
    parser.add_argument("--json", help="file for the result")
    arguments = parser.parse_args()
    model = keras.applications.ResNet50(weights=None, classes=CLASSES, input_shape=(SIDE, SIDE, 3))
    table = print_table([tuple(variable.shape) for variable in model.trainable_variables])
    result = train(model, arguments)
    if arguments.json:
        write_json(arguments.json, {"clusters": CLUSTERS, "megabytes": table, "step": result})


if __name__ == "__main__":
    main()
