"""One Discover training step against keras SGD with momentum: same model, same batch.

    python -m benchmarks.training_step [--cores 1] [--batch 128] [--json FILE]
    python -m benchmarks.training_step --cores 1 --batch 128 --groups 8 --models wide_resnet_16_2

For 1, 2 and 8 groups in the batch, and for every way of computing the group gradients. On one core
the clock is the processor time of the process, so that other users of the machine do not count. A
ratio of 1 means that Discover costs nothing beside the plain step. "groups alone" is SGD with
the mean of the same group gradients, formed alike: a control variate can only come on top.
"""

import argparse
import functools
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks.models import mlp, resnet8, small_convnet, wide_resnet_16_2
from benchmarks.timing import (
    add_cores_argument,
    interleaved_medians,
    pin_tensorflow,
    print_ratios,
    ratios,
    write_json,
)
from tf_gradvar import ClusterModel, Discover

NUM_CLUSTERS = 10
NETWORKS = {
    "mlp": ("MLP 784-1024-1024-10", mlp),
    "convnet": ("convnet 16-32-64", small_convnet),
    "resnet8": ("ResNet8", resnet8),
    "wide_resnet_16_2": ("WideResNet-16-2", wide_resnet_16_2),
}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_batch(model, size, groups):
    """Return a cluster batch of random inputs, a constant on the device."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, *model.inputs[0].shape[1:])).astype("float32")
    y = rng.integers(0, 10, size)
    ids = np.repeat(rng.permutation(NUM_CLUSTERS)[:groups], size // groups).astype("int32")
    return tf.nest.map_structure(tf.constant, ({"inputs": x, "cluster_ids": ids}, y))


def compiled_step(model, batch):
    """Return a function that runs one whole training step and waits for it."""
    step = tf.function(model.train_step, autograph=False)

    def run():
        return step(batch)["loss"].numpy()

    return run


def plain_step(build, size):
    """Return the stock Keras step with SGD momentum."""
    model = build()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), LOSS)
    model.optimizer.build(model.trainable_variables)
    inputs, y = make_batch(model, size, 1)
    return compiled_step(model, (inputs["inputs"], y))


class GroupsAlone(Discover):
    """Takes the mean of the group gradients and leaves the buffers alone: what the groups cost."""

    def correct_gradients(self, group_gradients, group_clusters, group_sizes=None):
        """Return the mean over the groups."""
        self._corrections_pending = 1
        return [tf.reduce_mean(gradient, axis=0) for gradient in group_gradients]


def discover_step(build, size, groups, method, optimizer=Discover):
    """Return the ClusterModel step with Discover."""
    model = ClusterModel.from_model(build(), groups_per_batch=groups)
    model.group_method = method
    model.compile(optimizer(0.01, NUM_CLUSTERS), LOSS)
    model.optimizer.build(model.trainable_variables)
    return compiled_step(model, make_batch(model, size, groups))


def measure(name, build, size, arguments):
    """Time all variants for one network and print their ratios."""
    variants = {"keras SGD momentum": plain_step(build, size)}
    for groups in arguments.groups:
        for method in ("auto",) if groups == 1 else ("loop", "vectorized"):
            label = f"Discover C={groups}" + ("" if groups == 1 else f" {method}")
            variants[label] = discover_step(build, size, groups, method)
        for rank in (1, 4):
            low_rank = functools.partial(Discover, buffers="low_rank", rank=rank)
            label = f"Discover C={groups} low rank {rank}"
            variants[label] = discover_step(build, size, groups, "auto", low_rank)
        alone = discover_step(build, size, groups, "auto", GroupsAlone)
        variants[f"groups alone C={groups}"] = alone
    clock = time.process_time if arguments.cores == 1 else time.perf_counter
    medians = interleaved_medians(variants, repeats=arguments.repeats, warmup=3, clock=clock)
    print_ratios(f"{name}, batch {size}", medians, "keras SGD momentum")
    return {"seconds": medians, "ratios": ratios(medians, "keras SGD momentum")}


def main():
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_cores_argument(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--models", nargs="+", default=["mlp", "resnet8"], choices=NETWORKS)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--json", help="file for the result")
    arguments = parser.parse_args()
    pin_tensorflow(arguments.cores)
    result = {}
    for key in arguments.models:
        for size in arguments.batch:
            name, build = NETWORKS[key]
            result[f"{key}_{size}"] = measure(name, build, size, arguments)
    if arguments.json:
        write_json(arguments.json, {"cores": arguments.cores, **result})


if __name__ == "__main__":
    main()
