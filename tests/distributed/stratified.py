"""Train on stratified batches on so many logical CPUs and save the weights: stratified.py R FILE.

A process of its own for each number of replicas: logical devices are set once.
"""

import pickle
import sys

import keras
import numpy as np

from tests.distributed.replicas import start_strategy
from tf_gradvar import stratified_batches

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = X @ rng.normal(size=(4, 1)).astype("float32")
IDS = rng.choice(5, 60, p=[0.4, 0.3, 0.1, 0.1, 0.1])
OTHER = np.roll(IDS, 7)

# name: arguments of the dataset; every batch size is a multiple of the replicas.
CASES = {
    "two of each": {"samples_per_cluster": 2, "max_weight": None},
    "bounded": {"samples_per_cluster": 2, "max_weight": 1.2},
}


def fit(strategy, batches, callbacks=()):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(keras.optimizers.SGD(0.05, 0.9), "mse", jit_compile=False)
    model.fit(batches, epochs=2, steps_per_epoch=8, verbose=0, callbacks=list(callbacks))
    return model.get_weights()


def fit_with_new_clusters(strategy):
    """New clusters from batch 6 on, whatever the strategy has drawn ahead by then."""
    batches = stratified_batches((X, Y), IDS, seed=0, samples_per_cluster=2, max_weight=None)
    reassign = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: batch == 0 and batches.reassign(OTHER, "next_epoch")
    )
    return fit(strategy, batches, [reassign])


def main():
    strategy = start_strategy(int(sys.argv[1]))
    outcome = {
        name: fit(strategy, stratified_batches((X, Y), IDS, seed=0, **arguments))
        for name, arguments in CASES.items()
    }
    outcome["new clusters"] = fit_with_new_clusters(strategy)
    with open(sys.argv[2], "wb") as file:
        pickle.dump(outcome, file)


if __name__ == "__main__":
    main()
