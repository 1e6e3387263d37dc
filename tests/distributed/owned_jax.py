"""Train with owned clusters on four host devices of JAX and save the outcome: owned_jax.py FILE.

The optimizers alone: gradients of groups that lie on the devices, in a compiled step.
"""

import os
import pickle
import re
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import keras
import numpy as np

from tf_gradvar.optimizers import Discover, QHDiscover

K, R, EACH, STEPS = 8, 4, 2, 5
Q = [0.05, 0.2, 0.15, 0.1, 0.2, 0.1, 0.05, 0.15]
SHAPES = [(5, 3), (3,)]
OWNED = {"num_clusters": K, "cluster_probabilities": Q, "buffers": "owned"}
FORMS = {
    "Discover": lambda: Discover(0.1, gain=0.4, **OWNED),
    "QHDiscover": lambda: QHDiscover(0.1, nu=0.7, gain=1.0, **OWNED),
}


def draws():
    """Groups of four devices for every step; one is no number, one is of another's cluster."""
    rng = np.random.default_rng(1)
    for t in range(STEPS):
        clusters = np.concatenate([rng.integers(2 * r, 2 * r + 2, EACH) for r in range(R)])
        groups = [rng.normal(size=(R * EACH, *s)).astype("float32") for s in SHAPES]
        if t == 1:
            groups[0][1] = np.nan
        if t == 2:
            clusters[3] = 0
        yield groups, clusters.astype("int32")


def run_form(make):
    weights = [keras.Variable(np.zeros(s), name=n) for s, n in zip(SHAPES, "kb", strict=True)]
    optimizer = make()
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
    for groups, clusters in draws():
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
    stack = optimizer.cluster_gradients[0].value
    return {
        "settings": {"q": Q, "shapes": SHAPES},
        "draws": list(draws()),
        "corrected": corrected,
        "buffers": [np.asarray(b.value) for b in optimizer.cluster_gradients],
        "averages": [np.asarray(a.value) for a in optimizer.mean_cluster_gradients],
        "skipped": int(optimizer.skipped_groups.value),
        "pieces": [tuple(shard.data.shape) for shard in stack.addressable_shards],
        "collectives": collectives(text),
    }


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


def message_of(action):
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""


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
    outcome["refusals"] = refusals()
    with open(sys.argv[1], "wb") as file:
        pickle.dump(outcome, file)
