"""Train every case on so many logical CPUs and save the outcome: replicas.py R FILE.

A process of its own for each number of replicas: logical devices are set once, and a failed
collective poisons the process.
"""

import pickle
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tests.distributed.messages import message_of
from tf_gradvar import (
    IGT,
    ClusterModel,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    QHDiscover,
    cluster_batches,
)
from tf_gradvar.training import pick_strategy, train_steps

NUM_CLUSTERS = 3
STEPS = 10
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = rng.integers(0, NUM_CLUSTERS, 60)


def adamw():
    return keras.optimizers.AdamW(0.01, global_clipnorm=0.1, loss_scale_factor=8.0)


def low_rank(**options):
    return Discover(0.1, NUM_CLUSTERS, buffers="low_rank", rank=2, **options)


# name: (optimizer, groups in a batch); with 3 clusters, 8 groups are merged by cluster.
CASES = {
    "clipnorm and weight decay": (
        lambda: Discover(0.1, NUM_CLUSTERS, clipnorm=0.1, weight_decay=0.01),
        4,
    ),
    "more groups than clusters": (lambda: Discover(0.1, NUM_CLUSTERS, clipvalue=0.02), 8),
    "bfloat16 buffers": (lambda: Discover(0.1, NUM_CLUSTERS, buffer_dtype="bfloat16"), 4),
    "gain": (lambda: Discover(0.1, NUM_CLUSTERS, gain=0.3, clipnorm=0.1), 4),
    "quasi-hyperbolic": (lambda: QHDiscover(0.1, NUM_CLUSTERS), 8),
    "learned scale": (lambda: Discover(0.1, NUM_CLUSTERS, gain=1.0, scale="auto"), 4),
    "low rank": (lambda: low_rank(gain=0.4), 4),
    "low rank, more groups than clusters": (lambda: low_rank(gain=1.0, scale="auto"), 8),
    "igt": (lambda: DiscoverIGT(0.05, NUM_CLUSTERS, weight_decay=0.01), 4),
    "igt without clusters": (lambda: IGT(0.05), 4),
    "adamw": (lambda: DiscoverOver(adamw(), NUM_CLUSTERS), 4),
}

# What four replicas do not do otherwise than two.
ONLY_ON_TWO = ("bfloat16 buffers", "gain", "quasi-hyperbolic", "low rank", "adamw")
VALIDATED = ("clipnorm and weight decay", "igt", "igt without clusters")


def make_model(optimizer, normalized=False, **compile_arguments):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    regularizer = keras.regularizers.L2(0.01)
    x = keras.layers.Dense(8, activation="relu", kernel_regularizer=regularizer)(inputs)
    if normalized:
        x = keras.layers.BatchNormalization()(x)
    model = ClusterModel.from_model(keras.Model(inputs, keras.layers.Dense(3)(x)))
    model.compile(optimizer(), LOSS, **{"jit_compile": False, **compile_arguments})
    return model


def batches(groups, **changes):
    settings = {"num_clusters": NUM_CLUSTERS, "group_size": 5, "seed": 0, **changes}
    return cluster_batches((X, Y), Y, groups_per_batch=groups, **settings)


def state_of(model):
    """Return weights and optimizer state, and how far the replicas' copies are apart."""
    variables = [*model.trainable_weights, *model.optimizer.variables]
    copies = [getattr(v.value, "values", (v.value,)) for v in variables]
    spread = max(
        float(np.abs(np.float32(copy) - np.float32(c[0])).max()) for c in copies for copy in c
    )
    return [np.asarray(c[0].numpy(), "float32") for c in copies], spread


def run_case(optimizer, groups, validates=False, **model_arguments):
    with strategy.scope():
        model = make_model(optimizer, **model_arguments)
    validation = {"validation_data": (X, Y)} if validates else {}
    history = model.fit(
        batches(groups), epochs=2, steps_per_epoch=STEPS, verbose=0, **validation
    ).history
    state, spread = state_of(model)
    outcome = {"state": state, "spread": spread, "training": history["loss"]}
    if validates:
        outcome["validation"] = history["val_loss"]
        outcome["evaluated"] = float(model.evaluate(X, Y, verbose=0))
    return outcome


def run_half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return run_case(lambda: DiscoverOver(keras.optimizers.Adam(0.01), NUM_CLUSTERS), 4)
    finally:
        keras.mixed_precision.set_global_policy("float32")


def run_own_loop(groups_per_batch=4, metrics=()):
    """Train through `strategy.run`; mapping the dataset hides the number of groups."""
    with strategy.scope():
        model = make_model(lambda: Discover(0.1, NUM_CLUSTERS), metrics=list(metrics))
    dataset = batches(4).map(lambda *batch: batch)
    model.groups_per_batch = groups_per_batch
    results = list(train_steps(model, dataset, STEPS, steps_per_call=5))
    state, spread = state_of(model)
    return {"state": state, "spread": spread, "results": results}


def run_plain_loop():
    """A plain model with a metric in `train_steps`."""
    with strategy.scope():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.SGD(0.1), LOSS, metrics=["accuracy"])
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(20).repeat()
    results = list(train_steps(model, dataset, 4, steps_per_call=2))
    state, spread = state_of(model)
    return {"state": state, "spread": spread, "results": results}


def run_whole_loop(folder):
    """The loop with a callback and validation, and a checkpoint from which it goes on."""
    settings = {
        "steps_per_call": 2,
        "steps_per_epoch": 4,
        "validation_data": (X[:50], Y[:50]),  # the last batch is divided unevenly
        "checkpoint_dir": folder,
        "checkpoint_every": 2,
    }
    results = []
    for steps in (8, 12):
        with strategy.scope():
            model = make_model(lambda: DiscoverIGT(0.05, NUM_CLUSTERS), metrics=["accuracy"])
        plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=9.0)
        results += train_steps(model, batches(4), steps, callbacks=[plateau], **settings)
    state, spread = state_of(model)
    rate = float(model.optimizer.learning_rate.numpy())
    return {"state": state, "spread": spread, "results": results, "rate": rate}


def fit_with(optimizer, groups=4, **compile_arguments):
    with strategy.scope():
        model = make_model(optimizer, **compile_arguments)
    model.fit(batches(groups), steps_per_epoch=1, verbose=0)


def fit_a_model_from_outside():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with strategy.scope():
        model = ClusterModel.from_model(plain)
        model.compile(Discover(0.1, NUM_CLUSTERS), LOSS, jit_compile=False)
    model.fit(batches(4), steps_per_epoch=1, verbose=0)


def compiled_loop():
    with strategy.scope():
        model = make_model(lambda: Discover(0.1, NUM_CLUSTERS), jit_compile=True)
    next(train_steps(model, batches(4), 1, steps_per_call=1))


def loop_over_a_model_from_outside():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(20).repeat()
    with strategy.scope():
        next(train_steps(model, dataset, 1, steps_per_call=1))


def run_plain_loop_with_an_optimizer_from_outside():
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1, name="sgd"), LOSS)
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(20).repeat()
    next(train_steps(model, dataset, 1, steps_per_call=1))


def collectives(optimizer):
    """Return what the operations between replicas are given in a step with two groups.

    Returns:
        "sent", the (operation, number of elements) of each, and "sizes", of the weights.
    """
    with strategy.scope():
        model = make_model(optimizer)
        model.optimizer.build(model.trainable_variables)
    model.groups_per_batch = 2
    dataset = strategy.experimental_distribute_dataset(batches(2))

    @tf.function(autograph=False)
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    graph = step.get_concrete_function(next(iter(dataset))).graph
    operations = [op for op in graph.get_operations() if op.type.startswith("Collective")]
    return {
        "sent": [(op.type, op.inputs[0].shape.num_elements()) for op in operations],
        "sizes": [v.value.shape.num_elements() for v in model.trainable_weights],
    }


def refusals():
    def accumulating(**arguments):
        return lambda: Discover(0.1, NUM_CLUSTERS, **arguments)

    return {
        "accumulation": message_of(lambda: fit_with(accumulating(gradient_accumulation_steps=2))),
        "ema overwriting": message_of(
            lambda: fit_with(accumulating(use_ema=True, ema_overwrite_frequency=2))
        ),
        "inner accumulation": message_of(
            lambda: fit_with(
                lambda: DiscoverOver(
                    keras.optimizers.Adam(gradient_accumulation_steps=2), NUM_CLUSTERS
                )
            )
        ),
        "steps_per_execution": message_of(lambda: fit_with(accumulating(), steps_per_execution=2)),
        "jit_compile, fit": message_of(lambda: fit_with(accumulating(), jit_compile=True)),
        "jit_compile, train_steps": message_of(compiled_loop),
        "made outside, fit": message_of(fit_a_model_from_outside),
        "made outside, train_steps": message_of(loop_over_a_model_from_outside),
        "optimizer made outside": message_of(run_plain_loop_with_an_optimizer_from_outside),
        "odd groups": message_of(lambda: fit_with(accumulating(), groups=3)),
    }


def start_strategy(replicas):
    """Return the strategy for so many logical CPUs; call it before any other operation."""
    cpus = tf.config.list_physical_devices("CPU")
    logical = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpus[0], logical)
    if replicas > 1:  # which wait for each other in these threads
        tf.config.threading.set_inter_op_parallelism_threads(8 * replicas)
    strategy = pick_strategy()
    assert strategy.num_replicas_in_sync == replicas
    return strategy


def run_all(replicas):
    """Return the outcome of every case by its name."""
    outcome = {
        name: run_case(*case, name in VALIDATED)
        for name, case in CASES.items()
        if replicas < 4 or name not in ONLY_ON_TWO
    }
    outcome["own loop with a metric"] = run_own_loop(metrics=["accuracy"])
    outcome["plain model in a loop"] = run_plain_loop()
    with tempfile.TemporaryDirectory() as folder:
        outcome["whole loop"] = run_whole_loop(folder)
    if replicas < 4:
        outcome["own loop"] = run_own_loop()
        outcome["own loop, unknown groups"] = run_own_loop(groups_per_batch=None)
        outcome["mixed_float16"] = run_half_precision()
        outcome["batch normalization"] = run_case(
            lambda: Discover(0.1, NUM_CLUSTERS), 4, normalized=True
        )
    if replicas == 2:
        outcome["refusals"] = refusals()
        outcome["sent by Discover"] = collectives(lambda: Discover(0.1, NUM_CLUSTERS))
        outcome["sent by SGD"] = collectives(lambda: keras.optimizers.SGD(0.1))
    return outcome


if __name__ == "__main__":
    strategy = start_strategy(int(sys.argv[1]))
    with open(sys.argv[2], "wb") as file:
        pickle.dump(run_all(int(sys.argv[1])), file)
