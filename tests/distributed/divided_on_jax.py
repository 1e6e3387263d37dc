"""Divided buffers on four host devices of JAX; save what came out: divided_on_jax.py FILE.

The optimizers alone: gradients of groups that lie on the devices, in a compiled step.
"""

import os
import pickle
import re
import sys

if __name__ == "__main__":  # whoever looks for docstring examples imports this file, too
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    os.environ.setdefault("PJRT_NPROC", "32")  # with fewer threads the devices can wait for good

import jax
import keras
import numpy as np

from tests.distributed.messages import message_of
from tf_gradvar import ClusterModel, cluster_batches
from tf_gradvar.keras_internals import keeps_batches_in_order
from tf_gradvar.optimizers import Discover, QHDiscover

K, R, EACH, STEPS = 8, 4, 2, 5
Q = [0.05, 0.2, 0.15, 0.1, 0.2, 0.1, 0.05, 0.15]
SHAPES = [(5, 3), (3,)]
# One axis of the first two divides among the devices; none of the last does.
SHARDED_SHAPES = [(5, 8), (4,), (3,)]
OWNED = {"num_clusters": K, "cluster_probabilities": Q, "buffers": "owned"}
FORMS = {
    "Discover": lambda: Discover(0.1, gain=0.4, **OWNED),
    "QHDiscover": lambda: QHDiscover(0.1, nu=0.7, gain=1.0, **OWNED),
    "sharded": lambda: Discover(0.1, gain=0.4, **{**OWNED, "buffers": "sharded"}),
    "sharded, learned scale": lambda: Discover(
        0.1, gain=1.0, scale="auto", **{**OWNED, "buffers": "sharded"}
    ),
}


def draws(shapes):
    """Groups of four devices for every step; one is no number, one is of another's cluster."""
    rng = np.random.default_rng(1)
    for t in range(STEPS):
        clusters = np.concatenate([rng.integers(2 * r, 2 * r + 2, EACH) for r in range(R)])
        groups = [rng.normal(size=(R * EACH, *s)).astype("float32") for s in shapes]
        if t == 1:
            groups[0][1] = np.nan
        if t == 2:
            clusters[3] = 0
        yield groups, clusters.astype("int32")


def run_form(make):
    optimizer = make()
    shapes = SHARDED_SHAPES if optimizer.buffers == "sharded" else SHAPES
    weights = [keras.Variable(np.zeros(s), name=f"w{i}") for i, s in enumerate(shapes)]
    optimizer.build(weights)
    state = optimizer.variables
    rows = jax.sharding.PartitionSpec("batch")
    over_devices = jax.sharding.NamedSharding(weights[0].value.sharding.mesh, rows)

    @jax.jit
    def correct(before, groups, clusters):
        with keras.StatelessScope(state_mapping=list(zip(state, before, strict=True))) as scope:
            v = optimizer.correct_gradients(groups, clusters)
        return v, [scope.get_current_value(variable) for variable in state]

    corrected = []
    for groups, clusters in draws(shapes):
        arguments = (
            [v.value for v in state],
            [jax.device_put(g, over_devices) for g in groups],
            jax.device_put(clusters, over_devices),
        )
        text = correct.lower(*arguments).compile().as_text()
        v, after = correct(*arguments)
        for variable, value in zip(state, after, strict=True):
            variable.assign(value)
        corrected.append([np.asarray(x) for x in v])
    if optimizer.buffers == "sharded":
        held = [np.asarray(b.value) for b in optimizer.cluster_gradients]
        optimizer.recluster(np.eye(K), Q)  # changes nothing
        for stack, before in zip(optimizer.cluster_gradients, held, strict=True):
            np.testing.assert_allclose(np.asarray(stack.value), before, atol=1e-7)
    return {
        "settings": {"q": Q, "shapes": shapes},
        "draws": list(draws(shapes)),
        "corrected": corrected,
        "buffers": [np.asarray(b.value) for b in optimizer.cluster_gradients],
        "averages": [np.asarray(a.value) for a in optimizer.mean_cluster_gradients],
        "skipped": int(optimizer.skipped_groups.value),
        "pieces": pieces_of(optimizer.cluster_gradients[0]),
        "pieces of the average": pieces_of(optimizer.mean_cluster_gradients[0]),
        "collectives": collectives(text),
    }


def pieces_of(variable):
    """The shapes of what the devices hold of a variable."""
    return [tuple(shard.data.shape) for shard in variable.value.addressable_shards]


def collectives(text):
    """(kind, how many float32 numbers it results in) of each exchange in a compiled program."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    found = []
    for line in text.splitlines():
        match = re.search(rf"= (.*?) ({kinds})(-start)?\(", line)
        if match:
            shapes = re.findall(r"f32\[([\d,]*)\]", match[1])
            numbers = sum(int(np.prod([int(n) for n in s.split(",") if n])) for s in shapes)
            found.append((match[2], numbers))
    return found


def fit(folder):
    """Train a ClusterModel on batches of owned clusters, save it, and load it again."""
    rng = np.random.default_rng(0)
    x, ids = rng.normal(size=(80, 3)).astype("float32"), np.arange(80) % K
    y = x @ rng.normal(size=(3, 2)).astype("float32")
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model = ClusterModel.from_model(plain)
    model.compile(Discover(0.05, **OWNED), "mse")
    settings = {"num_clusters": K, "cluster_probabilities": Q, "group_size": 4, "seed": 0}
    batches = cluster_batches((x, y), ids, groups_per_batch=R * EACH, owned_by=R, **settings)
    losses = model.fit(batches, epochs=2, steps_per_epoch=30, verbose=0).history["loss"]
    path = f"{folder}.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    unowned = cluster_batches((x, y), ids, groups_per_batch=R * EACH, **settings)
    optimizer = model.optimizer
    return {
        "losses": losses,
        "skipped": int(optimizer.skipped_groups.value),
        "buffers": np.asarray(optimizer.cluster_gradients[0].value),
        "average": np.asarray(optimizer.mean_cluster_gradients[0].value),
        "pieces": [pieces_of(m.optimizer.cluster_gradients[0]) for m in (model, loaded)],
        "apart": max(
            float(np.abs(np.asarray(a.value) - np.asarray(b.value)).max())
            for a, b in zip(optimizer.variables, loaded.optimizer.variables, strict=True)
        ),
        "refusal": message_of(lambda: model.fit(unowned, steps_per_epoch=1, verbose=0)),
    }


def refusals():
    def build(num_clusters):
        optimizer = Discover(0.1, num_clusters, buffers="owned")
        optimizer.build([keras.Variable(np.zeros(3))])
        return optimizer

    return {
        "clusters": message_of(lambda: build(6)),
        "groups": message_of(
            lambda: build(8).correct_gradients([np.zeros((6, 3), "float32")], np.arange(6))
        ),
    }


if __name__ == "__main__":
    distribution = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
    keras.distribution.set_distribution(distribution)
    outcome = {name: run_form(make) for name, make in FORMS.items()}
    if keeps_batches_in_order():
        outcome["fit"] = fit(sys.argv[1])
    outcome["refusals"] = refusals()
    with open(sys.argv[1], "wb") as file:
        pickle.dump(outcome, file)
