"""Train with owned clusters on so many logical CPUs and save the outcome: owned.py R FOLDER.

A process of its own for each number of replicas, as in `replicas.py`. With another number than 2
it restores what two replicas saved.
"""

import pickle
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tests.distributed.messages import message_of
from tests.distributed.replicas import start_strategy
from tf_gradvar import (
    ClusterModel,
    Discover,
    DiscoverIGT,
    DiscoverQHM,
    QHDiscover,
    cluster_batches,
)
from tf_gradvar.estimators import DiscoverEstimate
from tf_gradvar.training.checkpoints import Checkpoints, Progress

# Five clusters do not divide among two replicas; two groups of a replica can be of one cluster.
K, Q, SHAPES = 5, [0.1, 0.3, 0.2, 0.25, 0.15], [(5, 2), (2,)]
EACH, STEPS = 2, 6
OWNED = {"num_clusters": K, "cluster_probabilities": Q, "buffers": "owned"}
FORMS = {
    "Discover": lambda: Discover(0.1, clipnorm=0.5, **OWNED),
    "QHDiscover": lambda: QHDiscover(0.1, nu=0.7, gain=1.0, **OWNED),
    "DiscoverQHM": lambda: DiscoverQHM(0.1, momentum=0.9, gain=0.4, **OWNED),
}
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype("float32")
Y = rng.normal(size=(40, 2)).astype("float32")
IDS = rng.permutation(np.arange(40) % K)


def draws():
    """Groups of two replicas for every step; one is no number, one is of the other's cluster."""
    rng = np.random.default_rng(1)
    for t in range(STEPS):
        clusters = np.concatenate([rng.integers(0, 3, EACH), rng.integers(3, 5, EACH)])
        groups = [rng.normal(size=(2 * EACH, *s)).astype("float32") for s in SHAPES]
        if t == 1:
            groups[0][1] = np.nan
        if t == 2:
            clusters[3] = 0
        yield groups, clusters.astype("int32")


def of_replicas(value):
    """The part of each replica as one distributed value."""
    parts = np.split(value, 2)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )


def run_form(make):
    """Correct and apply the groups above; the corrected gradients and where it all ends."""
    with strategy.scope():
        rng = np.random.default_rng(2)
        weights = [
            keras.Variable(rng.normal(size=s), name=n)
            for s, n in zip(SHAPES, ("kernel", "bias"), strict=True)
        ]
        optimizer = make()
        optimizer.build(weights)

    @tf.function
    def step(groups, clusters):
        def of_replica(groups, clusters):
            v = optimizer.correct_gradients(groups, clusters)
            optimizer.apply(v)
            return v

        return strategy.run(of_replica, args=(groups, clusters))

    corrected = []
    for groups, clusters in draws():
        found = step([of_replicas(g) for g in groups], of_replicas(clusters))
        copies = [strategy.experimental_local_results(v) for v in found]
        assert all((c[0].numpy() == c[1].numpy()).all() for c in copies)
        corrected.append([c[0].numpy() for c in copies])
    pieces = optimizer.cluster_gradients[0].value
    return {
        "corrected": corrected,
        "buffers": [np.array(b) for b in optimizer.cluster_gradients],
        "averages": [a.numpy() for a in optimizer.mean_cluster_gradients],
        "skipped": int(optimizer.skipped_groups.numpy()),
        "copies of weights": [[c.numpy() for c in w.value.values] for w in weights],
        "pieces": [tuple(p.shape) for p in strategy.experimental_local_results(pieces)],
    }


def make_model(optimizer=lambda: DiscoverIGT(0.1, momentum=0.8, **OWNED)):
    with strategy.scope():
        keras.utils.set_random_seed(1)
        plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model = ClusterModel.from_model(plain)
        model.compile(optimizer(), "mse", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    return model


def batches(**changes):
    settings = {"num_clusters": K, "cluster_probabilities": Q, "group_size": 4, "seed": 0}
    replicas = strategy.num_replicas_in_sync
    return cluster_batches(
        (X, Y), IDS, **{**settings, "groups_per_batch": replicas, "owned_by": replicas, **changes}
    )


def state_of(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]


def fit_and_save(folder):
    model = make_model()
    model.fit(batches(), steps_per_epoch=STEPS, verbose=0)
    trained = state_of(model)
    assert int(model.optimizer.skipped_groups.numpy()) == 0
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(folder / "checkpoint")
    Checkpoints(folder / "loop", model).save(Progress(STEPS))
    return trained


def restore(folder):
    """What each way of saving gives on these replicas; then a step to see that it goes on."""
    restored = {}
    with strategy.scope():
        model = keras.models.load_model(folder / "model.keras")
    restored["keras"] = state_of(model)
    model = make_model()
    model.load_weights(folder / "model.weights.h5")
    restored["weights"] = state_of(model)
    model = make_model()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    checkpoint.restore(str(folder / "checkpoint-1")).assert_consumed()
    restored["checkpoint"] = state_of(model)
    model = make_model()
    Checkpoints(folder / "loop", model).restore()
    restored["loop"] = state_of(model)
    model.fit(batches(), steps_per_epoch=2, verbose=0)
    after, optimizer = state_of(model), model.optimizer
    moved = [
        np.tensordot(Q, np.array(b), axes=1) - a.numpy()
        for b, a in zip(optimizer.cluster_gradients, optimizer.mean_cluster_gradients, strict=True)
    ]
    return {"restored": restored, "after": after, "off the average": moved}


def sums(make):
    """How many numbers each sum over the replicas takes in a step of fit."""
    model = make_model(make)
    model.use_sampling_of(batches())
    dataset = strategy.experimental_distribute_dataset(batches())

    @tf.function(autograph=False)
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    graph = step.get_concrete_function(next(iter(dataset))).graph
    found = [op for op in graph.get_operations() if op.type.startswith("Collective")]
    return [(op.type, op.inputs[0].shape.num_elements()) for op in found if "Reduce" in op.type]


def fit_with(make=FORMS["Discover"], **changes):
    make_model(make).fit(batches(**changes), steps_per_epoch=1, verbose=0)


def fit_mapped_batches():
    """Mapping the dataset hides the number of groups: the step falls back to sizes."""
    model = make_model()
    model.fit(batches().map(lambda *batch: batch), steps_per_epoch=1, verbose=0)


def refusals():
    model = make_model()
    groups = [tf.zeros((2, *w.shape)) for w in model.trainable_variables]
    full = {**OWNED, "buffers": "full"}
    return {
        "batches of all clusters": message_of(lambda: fit_with(owned_by=None)),
        "full buffers": message_of(lambda: fit_with(lambda: Discover(0.1, **full))),
        "outside of the replicas": message_of(
            lambda: model.optimizer.correct_gradients(groups, [0, 3])
        ),
        "an estimate": message_of(
            lambda: DiscoverEstimate(model.optimizer, IDS, group_size=4, groups_per_batch=2)
        ),
        "groups of unknown number": message_of(fit_mapped_batches),
        "too few clusters": message_of(
            lambda: make_model(lambda: Discover(0.1, num_clusters=1, buffers="owned"))
        ),
    }


def run_all(folder):
    if strategy.num_replicas_in_sync != 2:
        return restore(folder)
    outcome = {name: run_form(make) for name, make in FORMS.items()}
    outcome["trained"] = fit_and_save(folder)
    outcome["sums"] = {name: sums(FORMS[name]) for name in ("Discover", "QHDiscover")}
    outcome["refusals"] = refusals()
    return outcome


if __name__ == "__main__":
    strategy = start_strategy(int(sys.argv[1]))
    folder = Path(sys.argv[2])
    with open(folder / f"{sys.argv[1]}.pickle", "wb") as file:
        pickle.dump(run_all(folder), file)
