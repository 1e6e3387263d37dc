"""Federated training: every worker keeps its data, its clusters and their buffers to itself.

    python -m keras_apps.federated --worker 0 --workers localhost:12345,localhost:12346
    python -m keras_apps.federated --worker 1 --workers localhost:12345,localhost:12346

Each process stands for a site that has some of the scikit-learn digits and may not give examples
away: of ten classes, site w of two has 5 w to 5 w + 4. A class is a cluster, drawn at its site
alone, and `buffers="owned"` keeps its buffer there. What crosses the network in a step is one sum
of as many numbers as the model has weights, in which the sites' parts cannot be told apart, and
every site ends with the same model.

The sites must agree on `cluster_probabilities`: here 1 / K, so that they need not even tell how
many examples they have.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar import ClusterModel, Discover, cluster_batches
from tf_gradvar.ownership import Ownership

K = 10


def examples_of(site: int, num_sites: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits that a site has: pixels in [0, 1] and labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    own = Ownership(K, num_sites).owners[y] == site
    return (x[own] / 16).astype("float32"), y[own]


def train(site: int, num_sites: int, steps: int) -> ClusterModel:
    """Train on the site's own examples, together with the other sites; all get the same model.

    Args:
        site: The number of this one.
        num_sites: How many there are; `TF_CONFIG` tells their addresses.
        steps: How many steps.
    """
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        keras.utils.set_random_seed(0)
        layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(K)]
        model = ClusterModel.from_model(keras.Sequential(layers), groups_per_batch=num_sites)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(Discover(0.2, num_clusters=K, buffers="owned"), loss, jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    x, y = examples_of(site, num_sites)

    def batches_of_site(context: tf.distribute.InputContext) -> tf.data.Dataset:
        return cluster_batches(
            (x, y),
            y,
            num_clusters=K,
            group_size=16,
            groups_per_batch=num_sites,
            seed=0,
            owned_by=num_sites,
            input_context=context,
        )

    batches = iter(strategy.distribute_datasets_from_function(batches_of_site))

    @tf.function(autograph=False)
    def step() -> None:
        strategy.run(model.train_step, args=(next(batches),))

    for _ in range(steps):
        step()
    return model


def main() -> None:
    """Train, and print how good the model is on this site's digits and on those of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--workers", required=True, help="addresses, separated by commas")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--save", help="a .weights.h5 file, for the model and the buffers of all")
    given = parser.parse_args()
    addresses = given.workers.split(",")
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": given.worker}}
    )
    model = train(given.worker, len(addresses), given.steps)
    for site in range(len(addresses)):
        x, y = examples_of(site, len(addresses))
        accuracy = np.mean(np.asarray(model(x)).argmax(axis=1) == y)
        print(f"accuracy on the digits of site {site}: {accuracy:.3f}")
    if given.save:  # every site must: the buffers of all of them are saved
        model.save_weights(given.save)


if __name__ == "__main__":
    main()
