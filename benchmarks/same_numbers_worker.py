"""One process of `benchmarks.same_numbers`: trains every case at its place, into a file.

python -m benchmarks.same_numbers_worker PLACE FILE [INDEX PORT]
"""

import contextlib
import json
import os
import pickle
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# name: (backend, devices, processes); the groups of a batch divide among them.
PLACES = {
    "TensorFlow, 1 device": ("tensorflow", 1, 1),
    "TensorFlow, 2 replicas": ("tensorflow", 2, 1),
    "TensorFlow, 4 replicas": ("tensorflow", 4, 1),
    "TensorFlow, 2 processes": ("tensorflow", 2, 2),
    "JAX, 1 device": ("jax", 1, 1),
    "JAX, 2 devices": ("jax", 2, 1),
    "JAX, 4 devices": ("jax", 4, 1),
}
K, GROUPS, STEPS = 8, 8, 20
PROBABILITIES = [0.05, 0.2, 0.15, 0.1, 0.2, 0.1, 0.05, 0.15]
SETTINGS = ("none", "clipping", "decay", "average", "schedule")
ALL_BUFFERS = {
    "full": {},
    "low rank": {"buffers": "low_rank", "rank": 2},
    "sharded": {"buffers": "sharded"},
    "owned by 2": {"buffers": "owned"},
    "owned by 4": {"buffers": "owned"},
}
FORMS = ("Discover", "QHDiscover", "DiscoverQHM", "DiscoverIGT", "DiscoverOver(AdamW)")


def cases(place):
    """Return the (form, buffers, setting) of each case at a place.

    Every form and kind of buffers has all settings at once, `Discover` in full also each alone.
    Slices of buffers are JAX's; owned ones need as many devices as owners.
    """
    backend, devices, _ = PLACES[place]
    kinds = ["full", "low rank", f"owned by {devices}"]
    if backend == "jax" and devices > 1:
        kinds.append("sharded")
    kinds = [kind for kind in kinds if kind in ALL_BUFFERS]
    alone = [("Discover", "full", setting) for setting in SETTINGS]
    return alone + [(form, kind, "all") for kind in kinds for form in FORMS]


def optimizer_of(form, buffers, setting):
    """Return the optimizer of a case."""
    import keras

    import tf_gradvar

    everything = setting == "all"
    rate = 0.02 if "AdamW" in form else 0.1
    if everything or setting == "schedule":
        rate = keras.optimizers.schedules.ExponentialDecay(rate, 10, 0.5)
    given = {}
    if everything or setting == "clipping":
        given["global_clipnorm"] = 0.1
    if everything or setting == "decay":
        given["weight_decay"] = 0.01
    if (everything and form != "DiscoverIGT") or setting == "average":  # IGT has its own
        given |= {"use_ema": True, "ema_momentum": 0.9}
    clusters = {
        "num_clusters": K,
        "cluster_probabilities": PROBABILITIES,
        **ALL_BUFFERS[buffers],
    }
    if "AdamW" in form:
        return tf_gradvar.DiscoverOver(keras.optimizers.AdamW(rate, **given), **clusters)
    return getattr(tf_gradvar, form)(rate, **clusters, **given)


def train(strategy, form, buffers, setting):
    """Return the weights and the buffers after the steps."""
    import numpy as np

    from tests.optimizers.cases import values
    from tests.training.jax_cases import X, Y, make_model, state_of
    from tf_gradvar import cluster_batches

    owners = int(buffers[-1]) if buffers.startswith("owned") else None
    batches = cluster_batches(
        (X, Y),
        np.arange(len(X)) % K,
        num_clusters=K,
        cluster_probabilities=PROBABILITIES,
        group_size=4,
        groups_per_batch=GROUPS,
        seed=0,
        owned_by=owners,
    )
    compiled = {} if strategy is None else {"jit_compile": False}
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = make_model(optimizer_of(form, buffers, setting), **compiled)
    take_steps(model, batches, strategy)
    optimizer = model.optimizer
    weights = state_of(model)[: len(model.weights)]
    held = values([*optimizer.cluster_gradients, *optimizer.mean_cluster_gradients])
    return {"weights": weights, "buffers": [np.asarray(value, "float32") for value in held]}


def take_steps(model, batches, strategy):
    """Train as a user does at this place."""
    if strategy is not None:
        from tf_gradvar.training import train_steps
        from tf_gradvar.training.workers import count_workers

        if count_workers(strategy) > 1:
            list(train_steps(model, batches, STEPS, steps_per_call=5))
            return
    model.fit(batches, steps_per_epoch=STEPS, verbose=0)


def start(place, index, port):
    """Return the strategy of the place, None on JAX, whose distribution is set."""
    backend, devices, processes = PLACES[place]
    if backend == "jax":
        import keras

        if devices > 1:
            found = keras.distribution.list_devices()[:devices]
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found))
        return None
    from tf_gradvar.training import pick_strategy

    if processes > 1:
        addresses = [f"localhost:{port + i}" for i in range(processes)]
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        return pick_strategy("multi_worker")
    from tests.distributed.replicas import start_strategy

    return start_strategy(devices)


def main():
    """Train everything at one place."""
    place, path, *others = sys.argv[1:]
    backend, devices, _ = PLACES[place]
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        os.environ.setdefault("PJRT_NPROC", "32")  # with fewer threads devices can wait for good
    strategy = start(place, *map(int, others or (0, 0)))
    outcome = {}
    for case in cases(place):
        with contextlib.redirect_stdout(None):  # optimizers print their memory
            outcome[case] = train(strategy, *case)
    if others[:1] in ([], ["0"]):  # what the first process has, all have
        with open(path, "wb") as file:
            pickle.dump(outcome, file)
    os._exit(0)  # TensorFlow can wait for good at the end for batches that nobody takes


if __name__ == "__main__":
    main()
