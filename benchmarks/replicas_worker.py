"""One process of `benchmarks.replicas`: all optimizers on R logical CPUs. Prints JSON.

python -m benchmarks.replicas_worker R STEPS REPEATS
"""

import contextlib
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.timing import interleaved_times, median
from tf_gradvar import (
    IGT,
    QHM,
    ClusterModel,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
    cluster_batches,
)
from tf_gradvar.training import pick_strategy

LAYERS = (784, 256, 10)
NUM_CLUSTERS = 64
RANK = 4
GROUP_SIZE = 32
EXAMPLES = 4096
BASELINE = "SGD, momentum"
OPTIMIZERS = {
    BASELINE: lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "SGD": lambda: keras.optimizers.SGD(0.01),
    "Adam": lambda: keras.optimizers.Adam(0.001),
    "QHM": lambda: QHM(0.01),
    "IGT": lambda: IGT(0.01),
    "Discover": lambda: Discover(0.01, NUM_CLUSTERS),
    "Discover, bfloat16": lambda: Discover(0.01, NUM_CLUSTERS, buffer_dtype="bfloat16"),
    "Discover, low rank": lambda: Discover(0.01, NUM_CLUSTERS, buffers="low_rank", rank=RANK),
    "Discover, owned": lambda: Discover(0.01, NUM_CLUSTERS, buffers="owned"),
    "QHDiscover": lambda: QHDiscover(0.01, NUM_CLUSTERS),
    "DiscoverQHM": lambda: DiscoverQHM(0.01, NUM_CLUSTERS),
    "DiscoverIGT": lambda: DiscoverIGT(0.01, NUM_CLUSTERS),
    "DiscoverOver(Adam)": lambda: DiscoverOver(keras.optimizers.Adam(0.001), NUM_CLUSTERS),
}
# Those whose collectives and memory `benchmarks.replicas` computes, by the kind of their buffers.
COUNTED = {
    "none": BASELINE,
    "full": "Discover",
    "low rank": "Discover, low rank",
    "owned": "Discover, owned",
}


def make_model(strategy, make_optimizer):
    """Return a model that is ready to train."""
    with strategy.scope():
        keras.utils.set_random_seed(0)
        inputs, hidden, outputs = LAYERS
        dense = [keras.layers.Dense(hidden, "relu"), keras.layers.Dense(outputs)]
        model = ClusterModel.from_model(keras.Sequential([keras.Input((inputs,)), *dense]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(make_optimizer(), loss, jit_compile=False)
        with contextlib.redirect_stdout(None):  # it prints its memory
            model.optimizer.build(model.trainable_variables)
    return model


def step_of(strategy, model):
    """Return a compiled step, and the batches that it takes: one group for each replica."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, LAYERS[0])).astype("float32")
    y = rng.integers(0, LAYERS[-1], EXAMPLES)
    replicas = strategy.num_replicas_in_sync
    owned = getattr(model.optimizer, "buffers", None) == "owned"
    batches = cluster_batches(
        (x, y),
        np.arange(EXAMPLES) % NUM_CLUSTERS,
        num_clusters=NUM_CLUSTERS,
        group_size=GROUP_SIZE,
        groups_per_batch=replicas,
        seed=0,
        owned_by=replicas if owned else None,
    )
    model.use_sampling_of(batches)

    @tf.function(autograph=False)
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    return step, iter(strategy.experimental_distribute_dataset(batches))


def collectives(step, batches):
    """Return the kind of each collective operation of a step, and how many numbers it takes.

    Those of every replica stand in the graph.
    """
    graph = step.get_concrete_function(next(batches)).graph
    return [
        ("reduce" if "Reduce" in op.type else "gather", numbers_in(op.inputs[0]))
        for op in graph.get_operations()
        if op.type.startswith("Collective") and ("Reduce" in op.type or "Gather" in op.type)
    ]


def numbers_in(tensor):
    """Return how many numbers a tensor has; before a gather it is padded, here by nothing."""
    while tensor.shape.num_elements() is None:
        tensor = tensor.op.inputs[0]
    return tensor.shape.num_elements()


def buffer_bytes(strategy, optimizer):
    """Return the bytes of the buffers and their averages on the first replica."""
    stacks = getattr(optimizer, "cluster_gradients", [])
    averages = list(getattr(optimizer, "mean_cluster_gradients", []))
    held = [v for stack in stacks for v in getattr(stack, "variables", [stack])]
    variables = {id(v): v for v in (*held, *averages)}.values()
    pieces = [strategy.experimental_local_results(v.value)[0] for v in variables]
    return sum(int(np.prod(p.shape)) * p.dtype.size for p in pieces)


def main():
    """Train, count and time."""
    replicas, steps, repeats = map(int, sys.argv[1:])
    if replicas > 1:
        cpus = tf.config.list_physical_devices("CPU")
        logical = [tf.config.LogicalDeviceConfiguration()] * replicas
        tf.config.set_logical_device_configuration(cpus[0], logical)
        # Replicas wait for each other in these threads.
        tf.config.threading.set_inter_op_parallelism_threads(8 * replicas)
    strategy = pick_strategy("mirrored" if replicas > 1 else "one_device")
    result = {"replicas": replicas, "collectives": {}, "buffer_bytes": {}}
    variants = {}
    for name, make in OPTIMIZERS.items():
        model = make_model(strategy, make)
        step, batches = step_of(strategy, model)
        if name in COUNTED.values():
            result["collectives"][name] = collectives(step, batches)
            result["buffer_bytes"][name] = buffer_bytes(strategy, model.optimizer)

        def run(step=step, batches=batches, optimizer=model.optimizer):
            for _ in range(steps):
                step(next(batches))
                keras.ops.convert_to_numpy(optimizer.iterations)  # when the step is done

        variants[name] = run
    times = interleaved_times(variants, repeats)
    result["seconds"] = {name: median(values) / steps for name, values in times.items()}
    print(json.dumps(result), flush=True)
    os._exit(0)  # TensorFlow can wait for good at the end for batches that nobody takes


if __name__ == "__main__":
    main()
