"""Train as one of two workers on this machine and save the outcome: workers.py INDEX PORT FOLDER.

In the first start the second worker is killed in the middle of a run with checkpoints; the second
start, with the same folder, goes on from there.
"""

import functools
import json
import os
import pickle
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar import ClusterModel, Discover, DiscoverIGT, cluster_batches
from tf_gradvar.training import pick_strategy, train_steps

NUM_CLUSTERS, STEPS, KILLED_AFTER = 3, 12, 8
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4)).astype("float32")
Y = rng.integers(0, NUM_CLUSTERS, 50)


def discover():
    return Discover(0.1, NUM_CLUSTERS, clipnorm=0.1)


def transported():
    return DiscoverIGT(0.05, NUM_CLUSTERS, weight_decay=0.01)


def compiled(strategy, optimizer):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(NUM_CLUSTERS)]
        model = ClusterModel.from_model(keras.Sequential([keras.Input((4,)), *layers]))
        model.compile(optimizer(), LOSS, metrics=["accuracy"])
    return model


def batches():
    return cluster_batches(
        (X, Y), Y, num_clusters=NUM_CLUSTERS, group_size=5, groups_per_batch=4, seed=0
    )


def train(strategy, optimizer, results=None, **arguments):
    """Return the results of every epoch, weights and state, and whose parts were asked for."""
    model = compiled(strategy, optimizer)
    validation = tf.data.Dataset.from_tensor_slices((X, Y)).batch(25)  # 13 and 12 on two workers
    settings = {"steps_per_call": 2, "steps_per_epoch": 4, "validation_data": validation}
    results, asked = [] if results is None else results, []
    data = batches()
    parts = data.for_worker
    data.for_worker = lambda context: asked.append(context.input_pipeline_id) or parts(context)
    results.extend(train_steps(model, data, STEPS, **settings, **arguments))
    variables = [*model.variables, *model.optimizer.variables]
    state = [np.asarray(v, "float32") for v in variables]
    return {"results": results, "state": state, "asked for the parts of": asked}


class KillAfter(keras.callbacks.Callback):
    """Kills this process in the middle of an epoch, when two more steps were lost."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) >= KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)


class TerminateAfter(keras.callbacks.Callback):
    """Sends SIGTERM to this process after so many steps."""

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGTERM)


def error_of(action):
    try:
        action()
    except (ValueError, RuntimeError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def first_start(strategy, index, folder):
    files, results = folder / f"files-{index}", []
    files.mkdir()
    callbacks = [
        keras.callbacks.ModelCheckpoint(files / "model.keras"),
        keras.callbacks.CSVLogger(files / "log.csv"),
        *([TerminateAfter()] if index else []),
    ]
    shared = folder / "preempted"
    run = functools.partial(train, strategy, transported, results)
    outcome = {
        "preempted": error_of(lambda: run(callbacks=callbacks, checkpoint_dir=shared)),
        "files": sorted(path.name for path in files.iterdir()),
        "resumed": run(checkpoint_dir=shared),
        "unshared": error_of(lambda: run(checkpoint_dir=folder / "no" if index else shared)),
        **without_the_loop(strategy),
    }
    save(outcome, index, folder)  # the end of it may never come
    settings = {"checkpoint_dir": folder / "killed", "checkpoint_every": 6}
    callbacks = [KillAfter()] if index else []
    lost = functools.partial(train, strategy, discover, callbacks=callbacks, **settings)
    return {**outcome, "lost": error_of(lost)}


def without_the_loop(strategy):
    """Return what a model says or does outside `train_steps`, and one of the same weights alone."""
    model = compiled(strategy, discover)
    alone = compiled(tf.distribute.get_strategy(), discover)
    alone.set_weights(model.get_weights())
    batch = {"inputs": X[:10], "cluster_ids": np.zeros(10, "int32")}
    return {
        "fit": error_of(lambda: model.fit(batches(), steps_per_epoch=1)),
        "evaluate": error_of(lambda: model.evaluate(X, Y, verbose=0)),
        "train_on_batch": error_of(lambda: model.train_on_batch(batch, Y[:10])),
        "test_on_batch": error_of(lambda: model.test_on_batch(X, Y)),
        "predicted": model.predict(X, batch_size=16, verbose=0),
        "evaluated alone": alone.evaluate(X, Y, verbose=0),
    }


def second_start(strategy):
    folder = Path(sys.argv[3])
    return {"discover": train(strategy, discover, checkpoint_dir=folder / "killed")}


def save(outcome, index, folder):
    (folder / f"outcome-{index}.pickle").write_bytes(pickle.dumps(outcome))


def main():
    index, port, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    addresses = [f"localhost:{port}", f"localhost:{port + 1}"]
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    strategy = pick_strategy()
    again = (folder / "killed").exists()
    save(second_start(strategy) if again else first_start(strategy, index, folder), index, folder)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
