"""Steady risk of owned clusters beside the central scheme, on clustered least squares.

    python -m benchmarks.owned_clusters [--replicas 2] [--groups 4] [--steps 5000] [--seeds 3]

The problem of `keras_apps/configs/clustered_least_squares.py`, trained on logical CPUs as replicas.
Both schemes have the same learning rate, alpha, gain and groups in a step; with owned clusters,
each replica draws from its own alone and keeps their buffers alone. Printed is the excess risk
above the optimum, its mean over the second half of the steps, for each seed and over all. One run
takes every example once at most.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from keras_apps.experiments.least_squares import LeastSquares, half_squared_error
from keras_apps.models import MODELS
from tf_gradvar import ClusterModel, Discover, cluster_batches
from tf_gradvar.training import train_steps

GROUP_SIZE, RATE, BETWEEN = 8, 0.1, 10
SCHEMES = {
    "central": lambda k: Discover(RATE, k, gain=1.0),
    "owned": lambda k: Discover(RATE, k, gain=1.0, buffers="owned"),
    "SGD": lambda k: keras.optimizers.SGD(RATE),
}


def steady_risk(strategy, scheme, seed, groups, steps):
    """Return the mean excess risk over the second half of a run."""
    problem = LeastSquares(data_seed=seed)
    data, k = problem.data(), problem.num_clusters
    with strategy.scope():
        keras.utils.set_random_seed(seed)
        model = ClusterModel.from_model(MODELS["diagonal_linear"](problem.num_features))
        model.compile(SCHEMES[scheme](k), half_squared_error, jit_compile=False)
    batches = cluster_batches(
        (data.x, data.y),
        data.clusters,
        num_clusters=k,
        group_size=GROUP_SIZE,
        groups_per_batch=groups,
        seed=seed,
        owned_by=strategy.num_replicas_in_sync if scheme == "owned" else None,
    )
    risks = [
        data.excess_risk(model.trainable_weights[0].numpy())
        for _ in train_steps(model, batches, steps, steps_per_call=BETWEEN)
    ]
    return float(np.mean(risks[len(risks) // 2 :]))


def main():
    """Print the risks."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("replicas", 2), ("groups", 4), ("steps", 5000), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    cpus = tf.config.list_physical_devices("CPU")
    logical = [tf.config.LogicalDeviceConfiguration()] * given.replicas
    tf.config.set_logical_device_configuration(cpus[0], logical)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(given.replicas)])
    means = {}
    for scheme in SCHEMES:
        risks = [
            steady_risk(strategy, scheme, seed, given.groups, given.steps)
            for seed in range(given.seeds)
        ]
        means[scheme] = np.mean(risks)
        print(f"{scheme:8} {np.mean(risks):.4g}   seeds: {', '.join(f'{r:.4g}' for r in risks)}")
    print(f"owned / central: {means['owned'] / means['central']:.3f}")


if __name__ == "__main__":
    main()
