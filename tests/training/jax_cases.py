"""Runs that must end alike on every backend: as a program, train them all: jax_cases.py FILE.

The batches are the same on both backends, and the weights start from NumPy's numbers.
"""

import pickle
import sys

import keras
import numpy as np

from tf_gradvar import (
    IGT,
    ClusterModel,
    Discover,
    DiscoverIGT,
    DiscoverOver,
    DiscoverQHM,
    QHDiscover,
    cluster_batches,
)

K = 3
STEPS = 10  # in each of two epochs
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = rng.integers(0, K, 60)
WEIGHTS = rng.uniform(0.5, 1.5, 60).astype("float32")
SKEWED = [0.5, 0.3, 0.2]


def schedule():
    return keras.optimizers.schedules.ExponentialDecay(0.2, 10, 0.5)


def with_everything(**options):
    return Discover(
        schedule(), K, cluster_probabilities=SKEWED, clipnorm=0.1, weight_decay=0.01, use_ema=True,
        ema_momentum=0.9, ema_overwrite_frequency=7, **options,
    )  # fmt: skip


def adamw():
    inner = keras.optimizers.AdamW(0.01, global_clipnorm=0.1, loss_scale_factor=8.0)
    return DiscoverOver(inner, K)


def loss_scaling():
    inner = QHDiscover(0.1, K, buffer_dtype="bfloat16")
    return keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=6)


def low_rank():
    return Discover(0.1, K, gain=1.0, scale="auto", buffers="low_rank", rank=2, clipvalue=0.1)


# name: (optimizer, groups in a batch, options of the model); 8 groups are more than clusters.
CASES = {
    "clipping, decay, average, schedule": (with_everything, 4, {"normalized": True}),
    "adamw, more groups than clusters": (adamw, 8, {"weighted": True}),
    "loss scaling, bfloat16": (loss_scaling, 4, {}),
    "learned scale": (lambda: DiscoverQHM(0.1, K, gain=1.0, scale="auto"), 4, {}),
    "low rank": (low_rank, 8, {}),
    "igt": (lambda: DiscoverIGT(0.05, K, weight_decay=0.01), 4, {}),
    "igt without clusters": (lambda: IGT(0.05), 4, {}),
}


def make_model(optimizer, normalized=False, dropout=0.0, **compiled):
    inputs = keras.Input((4,))
    regularizer = keras.regularizers.L2(0.01)
    x = keras.layers.Dense(8, activation="tanh", kernel_regularizer=regularizer)(inputs)
    if normalized:
        x = keras.layers.BatchNormalization()(x)
    if dropout:
        x = keras.layers.Dropout(dropout, seed=3)(x)
    model = ClusterModel.from_model(keras.Model(inputs, keras.layers.Dense(3)(x)))
    start = np.random.default_rng(1)
    for variable in model.trainable_weights:
        variable.assign(start.normal(scale=0.5, size=variable.shape))
    model.compile(optimizer, LOSS, **compiled)
    return model


def batches(groups=4, weighted=False, **changes):
    settings = {"num_clusters": K, "group_size": 4, "seed": 0, **changes}
    data = (X, Y, WEIGHTS) if weighted else (X, Y)
    return cluster_batches(data, Y, groups_per_batch=groups, **settings)


def state_of(model):
    """The weights and the optimizer's variables, in NumPy."""
    variables = [*model.weights, *model.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v), "float32") for v in variables]


def run_case(name, **of_optimizer):
    make, groups, options = CASES[name]
    options = dict(options)
    weighted = options.pop("weighted", False)
    optimizer = make(**of_optimizer)
    probabilities = SKEWED if make is with_everything else None
    model = make_model(optimizer, **options)
    data = batches(groups, weighted, cluster_probabilities=probabilities)
    history = model.fit(
        data, epochs=2, steps_per_epoch=STEPS, verbose=0, validation_data=(X, Y)
    ).history
    state = state_of(model)  # before `evaluate`, which on JAX takes away what Keras averaged into
    losses = [*history["loss"], *history["val_loss"], float(model.evaluate(X, Y, verbose=0))]
    return {"state": state, "losses": losses}


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        pickle.dump({name: run_case(name) for name in CASES}, file)
