"""Group gradients of every kind of model, against one plain Keras pass over each group."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.discover_oracle import ControlVariate
from tf_gradvar import ClusterModel, Discover

K, GROUPS, SIZE, RATE, ALPHA, STEPS = 3, 4, 3, 0.1, 0.3, 3
B = GROUPS * SIZE
IDS = np.repeat([0, 2, 1, 2], SIZE).astype("int32")
rng = np.random.default_rng(0)
X = rng.normal(size=(STEPS, B, 4)).astype("float32")
LABELS = rng.integers(0, 3, (STEPS, B))
VALUES = rng.normal(size=(STEPS, B, 1)).astype("float32")
WEIGHTS = rng.uniform(0.5, 2.0, (STEPS, B)).astype("float32")
TOKENS = rng.integers(0, 7, (STEPS, B, 5))
TOKENS[..., 3:] = 0  # padding
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Problem:
    name: str
    build: Callable
    x: object = field(default_factory=lambda: X)
    y: object = field(default_factory=lambda: LABELS)
    sample_weight: object = None
    compiled: dict = field(default_factory=lambda: {"loss": CROSS_ENTROPY})

    def batch(self, step):
        def at(arrays):
            return keras.tree.map_structure(
                lambda a: None if a is None else tf.constant(a[step]), arrays
            )

        return at(self.x), at(self.y), at(self.sample_weight)


def sequential(*layers, shape=(4,), dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    hidden = keras.layers.Dense(3)(keras.layers.Add()([a, b]))
    outputs = {
        "label": keras.layers.Dense(3, name="label")(hidden),
        "value": keras.layers.Dense(1, name="value")(hidden),
    }
    return keras.Model({"a": a, "b": b}, outputs)


def frozen():
    model = sequential(keras.layers.Dense(5), keras.layers.Dense(3))
    model.layers[0].trainable = False
    return model


def frozen_normalization():
    normalization = keras.layers.BatchNormalization()
    model = sequential(normalization, keras.layers.Dense(3))
    normalization.trainable = False
    return model


class Unused(keras.layers.Layer):
    """A layer with a weight that its output does not depend on."""

    def build(self, input_shape):
        self.used = self.add_weight(shape=(4,), initializer="ones")
        self.unused = self.add_weight(shape=(2,), initializer="ones")

    def call(self, inputs):
        return inputs * self.used


class Penalty(keras.layers.Layer):
    """A layer that adds a loss of its own."""

    def call(self, inputs):
        self.add_loss(0.1 * tf.reduce_mean(inputs**2))
        return inputs


L2 = keras.regularizers.L2(0.01)
BOTH = {"label": CROSS_ENTROPY, "value": "mse"}
PROBLEMS = [
    Problem("dense", lambda: sequential(keras.layers.Dense(5, "tanh"), keras.layers.Dense(3))),
    Problem(
        "sample weights",
        lambda: sequential(keras.layers.Dense(3)),
        sample_weight=WEIGHTS,
    ),
    Problem(
        "mean over the sample weights",
        lambda: sequential(keras.layers.Dense(3)),
        sample_weight=WEIGHTS,
        compiled={
            "loss": keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        },
    ),
    Problem(
        "regularizers",
        lambda: sequential(
            keras.layers.Dense(5, kernel_regularizer=L2), keras.layers.Dense(3, bias_regularizer=L2)
        ),
    ),
    Problem(
        "convolution",
        lambda: sequential(
            keras.layers.Reshape((4, 1)),
            keras.layers.Conv1D(2, 2),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ),
    ),
    Problem(
        "embedding and recurrence",
        lambda: sequential(
            keras.layers.Embedding(7, 4, mask_zero=True),
            keras.layers.SimpleRNN(3),
            keras.layers.Dense(3),
            shape=(5,),
            dtype="int32",
        ),
        x=TOKENS,
    ),
    Problem(
        "several inputs and outputs",
        several_inputs_and_outputs,
        x={"a": X, "b": X[:, ::-1]},
        y={"label": LABELS, "value": VALUES},
        compiled={"loss": BOTH, "loss_weights": {"label": 1.0, "value": 0.3}},
    ),
    Problem(
        "sample weights of several outputs",
        several_inputs_and_outputs,
        x={"a": X, "b": X[:, ::-1]},
        y={"label": LABELS, "value": VALUES},
        sample_weight={"label": WEIGHTS, "value": WEIGHTS[::-1]},
        compiled={"loss": BOTH},
    ),
    Problem("frozen layer", frozen),
    Problem("frozen normalization", frozen_normalization),
    Problem("unused weight", lambda: sequential(Unused(), keras.layers.Dense(3))),
    Problem(
        "batch normalization",
        lambda: sequential(
            keras.layers.Dense(5), keras.layers.BatchNormalization(), keras.layers.Dense(3)
        ),
    ),
    Problem(
        "layer normalization",
        lambda: sequential(
            keras.layers.Dense(5), keras.layers.LayerNormalization(), keras.layers.Dense(3)
        ),
    ),
    Problem(
        "losses of layers",
        lambda: sequential(keras.layers.Dense(5, activity_regularizer=L2), Penalty()),
        compiled={"loss": CROSS_ENTROPY},
    ),
    Problem(
        "float64",
        lambda: sequential(
            keras.layers.Dense(5, dtype="float64"), keras.layers.Dense(3, dtype="float64")
        ),
    ),
]
# Two groups of one cluster in a batch are one where groups are not known, which is another
# mean for these.
GROUPS_MATTER = {"batch normalization", "mean over the sample weights", "losses of layers"}
BY_CLUSTER = [p for p in PROBLEMS if p.name not in GROUPS_MATTER]


def build(problem):
    keras.utils.set_random_seed(1)
    return problem.build()


def cut(batch, group, size):
    return keras.tree.map_structure(
        lambda a: None if a is None else a[group * size : (group + 1) * size], batch
    )


def regularization(model):
    losses = [v.regularizer(v) for v in model.trainable_variables if v.regularizer is not None]
    return sum(losses, tf.zeros(()))


def plain_pass(model, batch):
    """Loss and gradients (without regularizers) of one group, with Keras alone."""
    x, y, sample_weight = batch
    with tf.GradientTape() as tape:
        predictions = model(x, training=True)
        loss = model.compute_loss(x, y, predictions, sample_weight, training=True)
        target = loss - tf.cast(regularization(model), loss.dtype)
    gradients = tape.gradient(target, [v.value for v in model.trainable_variables])
    return loss, [None if g is None else tf.convert_to_tensor(g).numpy() for g in gradients]


def reference(problem, num_groups, clusters, steps=STEPS):
    """Weights after Discover on the groups, the buffers, and the loss of every step."""
    model = build(problem)
    model.compile("sgd", **problem.compiled)
    trained = model.trainable_variables
    variate = ControlVariate([v.shape for v in trained], K, ALPHA)
    losses = []
    for step in range(steps):
        before = [v.numpy() for v in model.non_trainable_variables]
        after, results = [], []
        for group in range(num_groups):
            assign(model.non_trainable_variables, before)
            results.append(plain_pass(model, cut(problem.batch(step), group, B // num_groups)))
            after.append([v.numpy() for v in model.non_trainable_variables])
        assign(
            model.non_trainable_variables, [np.mean(v, axis=0) for v in zip(*after, strict=True)]
        )
        losses.append(np.mean([float(loss) for loss, _ in results]))
        groups = [
            None if row[0] is None else np.stack(row)
            for row in zip(*(gradients for _, gradients in results), strict=True)
        ]
        descend(model, variate.correct(groups, clusters))
    return model, variate, losses


def descend(model, corrected):
    trained = model.trainable_variables
    with tf.GradientTape() as tape:
        loss = regularization(model)
    extra = tape.gradient(loss, [v.value for v in trained], unconnected_gradients="zero")
    for variable, gradient, more in zip(trained, corrected, extra, strict=True):
        if gradient is not None:
            variable.assign(variable.numpy() - RATE * (gradient + more.numpy()))


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def clustered(problem, num_groups, method="auto"):
    model = ClusterModel.from_model(build(problem), groups_per_batch=num_groups)
    model.group_method = method
    model.compile(Discover(RATE, K, alpha=ALPHA, gain=1.0), **problem.compiled)
    return model


def train(model, problem, steps=STEPS):
    """Take eager steps; returns the logs of each (the loss is a mean over all steps)."""
    logs = []
    for step in range(steps):
        model.reset_metrics()
        x, y, sample_weight = problem.batch(step)
        data = ({"inputs": x, "cluster_ids": tf.constant(IDS)}, y, sample_weight)
        logs.append({name: float(value) for name, value in model.train_step(data).items()})
    return logs


def assert_same(model, expected, variate):
    for a, b in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6, err_msg=a.path)
    for i, buffers in enumerate(model.optimizer.cluster_gradients):
        stacked = np.stack([variate.buffers[i][k] for k in range(K)])
        np.testing.assert_allclose(buffers.numpy(), stacked, rtol=1e-4, atol=1e-6)


def check(problem, model, num_groups, clusters):
    expected, variate, losses = reference(problem, num_groups, clusters)
    logs = train(model, problem)
    assert_same(model, expected, variate)
    np.testing.assert_allclose([log["loss"] for log in logs], losses, rtol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_groups(problem):
    check(problem, clustered(problem, GROUPS), GROUPS, IDS[::SIZE])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_one_group(problem):
    """The ids of a batch that is one group name one cluster."""
    model = clustered(problem, 1)
    expected, variate, losses = reference(problem, 1, [2])
    original = IDS.copy()
    try:
        IDS[:] = 2
        logs = train(model, problem)
    finally:
        IDS[:] = original
    assert_same(model, expected, variate)
    np.testing.assert_allclose([log["loss"] for log in logs], losses, rtol=1e-5)


@pytest.mark.parametrize("problem", BY_CLUSTER, ids=lambda p: p.name)
def test_unknown_groups(problem):
    model = clustered(problem, None)
    expected, variate, _ = reference(problem, GROUPS, IDS[::SIZE])
    train(model, problem)
    assert_same(model, expected, variate)


@pytest.mark.parametrize("method", ["auto", "loop", "unknown"])
def test_metrics_are_those_of_a_plain_step(method):
    """Losses of the outputs and metrics, on equal groups, are those of the whole batch."""
    problem = next(p for p in PROBLEMS if p.name == "several inputs and outputs")
    compiled = {**problem.compiled, "metrics": {"label": ["accuracy"], "value": ["mae"]}}
    problem = Problem(**{**vars(problem), "compiled": compiled})
    model = clustered(problem, None if method == "unknown" else GROUPS, method)
    plain = build(problem)
    plain.compile(keras.optimizers.SGD(0.0), **problem.compiled)
    (logs,) = train(model, problem, steps=1)
    expected = plain.train_step(problem.batch(0))
    assert logs == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-5)
