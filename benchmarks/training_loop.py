"""Epochs of `train_steps` against epochs of `fit`: same model, batches and callbacks, one device.

    python -m benchmarks.training_loop [--cores 1] [--processor-time] [--epochs 40] [--json FILE]

With 1, 10 and 20 steps in a call of the compiled function (`steps_per_execution` in `fit`), for a
network whose steps are short and for one whose steps are long. The two take turns: after each
epoch of `fit` the loop runs one. The first epoch of each, in which it is traced, does not count.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from benchmarks.models import mlp
from benchmarks.timing import (
    add_cores_argument,
    median,
    pin_tensorflow,
    print_ratios,
    ratios,
    write_json,
)
from tf_gradvar import ClusterModel, Discover, cluster_batches
from tf_gradvar.training import train_steps

NUM_CLUSTERS, BATCH, EXAMPLES = 10, 128, 2000
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Clock(keras.callbacks.Callback):
    """Notes the seconds of every epoch; `afterwards` runs between two, and is not counted."""

    now = time.perf_counter

    def __init__(self, afterwards=lambda: None):
        super().__init__()
        self.seconds = []
        self.afterwards = afterwards

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self._start = Clock.now()

    def on_epoch_end(self, epoch, logs=None):
        """Stop it."""
        self.seconds.append(Clock.now() - self._start)
        self.afterwards()


def short_steps():
    """Return the MLP 784-64-10."""
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input((784,)), *layers])


def compiled(build, per_call):
    """Return a cluster model with a metric."""
    model = ClusterModel.from_model(build())
    optimizer = Discover(0.01, NUM_CLUSTERS)
    model.compile(optimizer, LOSS, metrics=["accuracy"], steps_per_execution=per_call)
    return model


def batches():
    """Return batches of eight groups of random examples."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 784)).astype("float32")
    y = rng.integers(0, NUM_CLUSTERS, EXAMPLES)
    return cluster_batches(
        (x, y), y, num_clusters=NUM_CLUSTERS, group_size=BATCH // 8, groups_per_batch=8, seed=0
    )


def measure(name, build, per_call, steps, epochs):
    """Time both, print the ratio and return the medians and the ratio."""
    fitting, looping = compiled(build, per_call), compiled(build, 1)
    clock = Clock()
    loop = train_steps(
        looping,
        batches(),
        steps * epochs,
        steps_per_call=per_call,
        steps_per_epoch=steps,
        callbacks=[clock],
    )
    of_fit = Clock(lambda: next(loop))
    fitting.fit(batches(), epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[of_fit])
    medians = {"fit": median(of_fit.seconds[1:]), "train_steps": median(clock.seconds[1:])}
    print_ratios(f"{name}, {steps} steps an epoch, {per_call} a call", medians, "fit")
    return {"seconds": medians, "ratios": ratios(medians, "fit")}


def main():
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_cores_argument(parser)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--per-call", type=int, nargs="+", default=[1, 10, 20])
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count the seconds of this process alone, on a machine that others use",
    )
    parser.add_argument("--json", help="file for the result")
    arguments = parser.parse_args()
    pin_tensorflow(arguments.cores)
    if arguments.processor_time:
        Clock.now = time.process_time
    result = {}
    networks = (("MLP 784-64-10", short_steps, 100), ("MLP 784-1024-1024-10", mlp, 20))
    for name, build, steps in networks:
        for per_call in arguments.per_call:
            key = f"{name}, {per_call} a call"
            result[key] = measure(name, build, per_call, steps, arguments.epochs)
    if arguments.json:
        write_json(arguments.json, {"cores": arguments.cores, **result})


if __name__ == "__main__":
    main()
