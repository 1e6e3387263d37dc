"""The callback against gradients worked out in NumPy, and that it changes nothing."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_gradvar import ClusterModel, Discover, DiscoverIGT, DiscoverOver, cluster_batches
from tf_gradvar.callbacks import BetweenClusterVariance

K, N, D = 3, 20, 4
CLUSTERS = np.array([0] * 9 + [1] * 6 + [2] * 5)
PROBABILITIES = np.array([0.45, 0.3, 0.25])


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, D)).astype("float32"), rng.normal(size=(N, 1)).astype("float32")


def linear_model(optimizer, **compile_arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse", **compile_arguments)
    return model


def numpy_cluster_gradients(model, x, y):
    """Gradients of mean((x w + b - y)^2) of each cluster, from the formula of least squares."""
    kernel, bias = (np.asarray(weight, "float64") for weight in model.get_weights())
    residual = x @ kernel + bias - y
    kernels = [
        2 * x[k == CLUSTERS].T @ residual[k == CLUSTERS] / (k == CLUSTERS).sum() for k in range(K)
    ]
    biases = [2 * residual[k == CLUSTERS].mean(axis=0) for k in range(K)]
    return [np.stack(kernels), np.stack(biases)]


def squared_distance(gradients, other):
    """sum_k q_k ||gradients_k - other_k||^2, with loops."""
    return sum(
        PROBABILITIES[k] * ((gradient[k] - reference[k]) ** 2).sum()
        for gradient, reference in zip(gradients, other, strict=True)
        for k in range(K)
    )


def mean(arrays):
    return [np.repeat(np.einsum("k,k...->...", PROBABILITIES, a)[None], K, axis=0) for a in arrays]


@pytest.mark.parametrize("batch_size", [2, 4, 512])
def test_cluster_gradients_are_exact(batch_size):
    x, y = data()
    model = linear_model("sgd")
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, PROBABILITIES, batch_size=batch_size)
    callback.set_model(model)
    gradients = numpy_cluster_gradients(model, x, y)
    for measured, expected in zip(callback.cluster_gradients(), gradients, strict=True):
        np.testing.assert_allclose(measured, expected, rtol=1e-5, atol=1e-6)
    assert callback.measure() == {
        "sgd": pytest.approx(squared_distance(gradients, mean(gradients)), rel=1e-5)
    }


def test_gradients_on_some_examples_of_each_cluster():
    x, y = data()
    model = linear_model("sgd")
    some = BetweenClusterVariance(x, y, CLUSTERS, K, examples_per_cluster=2)
    chosen = np.concatenate([np.flatnonzero(k == CLUSTERS)[:2] for k in range(K)])
    same = BetweenClusterVariance(x[chosen], y[chosen], CLUSTERS[chosen], K)
    some.set_model(model)
    same.set_model(model)
    assert some.measure() == same.measure()


@pytest.mark.parametrize("limit", [None, 4])
def test_a_dataset_gives_the_same(limit):
    x, y = data()
    model = linear_model("sgd")
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
    options = {"examples_per_cluster": limit, "batch_size": 4}
    arrays = BetweenClusterVariance(x, y, CLUSTERS, K, **options)
    streamed = BetweenClusterVariance(batches, None, CLUSTERS, K, **options)
    for callback in (arrays, streamed):
        callback.set_model(model)
    assert streamed.measure() == arrays.measure()


class RecordedGradients(keras.callbacks.Callback):
    """The gradient of each step of a full-batch run, before it is taken."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.gradients = x, y, []

    def on_train_batch_begin(self, batch, logs=None):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.model(self.x) - self.y) ** 2)
        self.gradients.append(
            [g.numpy().astype("float64") for g in tape.gradient(loss, self.model.trainable_weights)]
        )


@pytest.mark.parametrize("scheduled", [False, True])
def test_momentum_is_an_average_of_the_gradients(scheduled):
    x, y = data()
    steps, beta = 12, 0.5
    rate = keras.optimizers.schedules.CosineDecay(0.1, steps) if scheduled else 0.1
    rates = [float(rate(step)) if scheduled else rate for step in range(steps)]
    model = linear_model(keras.optimizers.SGD(rate, momentum=beta))
    recorded = RecordedGradients(x, y)
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, PROBABILITIES, every=steps)
    model.fit(x, y, batch_size=N, epochs=steps, verbose=0, callbacks=[recorded, callback])

    weights = np.array([beta ** (steps - 1 - step) * rates[step] for step in range(steps)])
    weights *= (1 - beta**steps) / weights.sum()
    buffers = [
        np.repeat(sum(w * g for w, g in zip(weights, history, strict=True))[None], K, axis=0)
        for history in zip(*recorded.gradients, strict=True)
    ]
    gradients = numpy_cluster_gradients(model, x, y)
    (values,) = callback.history
    assert values["step"] == steps
    assert values["momentum"] == pytest.approx(squared_distance(gradients, buffers), rel=1e-3)


BUFFERS = (
    np.random.default_rng(5).normal(size=(K, D, 1)),
    np.random.default_rng(6).normal(size=(K, 1)),
)


def with_buffers():
    """A Discover optimizer, and what fills its buffers once it is built."""
    optimizer = Discover(0.1, num_clusters=K, momentum=0.9, gain=1.0)

    def fill(model):
        optimizer.build(model.trainable_variables)
        for variable, buffers in zip(optimizer.cluster_gradients, BUFFERS, strict=True):
            variable.assign(buffers)

    return optimizer, fill


def test_values_of_an_optimizer_with_buffers():
    x, y = data()
    optimizer, fill = with_buffers()
    model = linear_model(optimizer)
    fill(model)
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, PROBABILITIES)
    callback.set_model(model)
    gradients, buffers = numpy_cluster_gradients(model, x, y), BUFFERS
    differences = [g - b for g, b in zip(gradients, buffers, strict=True)]
    values = callback.measure()
    assert sorted(values) == ["discover", "discover_exact", "sgd"]
    assert values["discover"] == pytest.approx(squared_distance(gradients, buffers), rel=1e-5)
    assert values["discover_exact"] == pytest.approx(
        squared_distance(differences, mean(differences)), rel=1e-5
    )


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_values_of_buffers_of_low_rank(gain):
    """Those of full buffers that hold the same."""
    x, y = data()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(6), keras.layers.Dense(1)])
    found = []
    rng = np.random.default_rng(7)
    low = Discover(0.1, K, buffers="low_rank", rank=1, gain=gain)
    full = Discover(0.1, K, gain=gain)
    for optimizer in (low, full):
        model.compile(optimizer, loss="mse")
        optimizer.build(model.trainable_variables)
        if optimizer is low:
            for variable in optimizer.variables[2:]:
                if variable.dtype == "float32":
                    variable.assign(rng.normal(size=variable.shape))
        else:
            for variable, rows in zip(full.cluster_gradients, low.cluster_gradients, strict=True):
                variable.assign(np.stack([rows[k] for k in range(K)]))
        callback = BetweenClusterVariance(x, y, CLUSTERS, K, PROBABILITIES)
        callback.set_model(model)
        found.append(callback.measure())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_loss_scaling_optimizer_is_looked_through():
    x, y = data()
    optimizer, fill = with_buffers()
    model = linear_model(keras.optimizers.LossScaleOptimizer(optimizer))
    fill(model)
    callback = BetweenClusterVariance(x, y, CLUSTERS, K)
    callback.set_model(model)
    assert sorted(callback.measure()) == ["discover", "discover_exact", "sgd"]


def awkward_model(seed):
    """A model in which a careless measurement would leave traces."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((D,)),
            keras.layers.Dense(6, activation="relu", kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss="mse", metrics=["mae"])
    return model


def test_measuring_changes_nothing():
    x, y = data()
    results = []
    for measured in (False, True):
        model = awkward_model(3)
        callbacks = [BetweenClusterVariance(x, y, CLUSTERS, K, every=1)] if measured else []
        history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=callbacks)
        state = [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]]
        results.append((state, history.history["mae"]))
    for plain, with_callback in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_array_equal(plain, with_callback)
    assert results[0][1] == results[1][1]


def train_on_clusters(optimizer, callbacks):
    x, y = data()
    keras.utils.set_random_seed(4)
    inputs = keras.Input((D,))
    outputs = keras.layers.Dense(1)(keras.layers.Dropout(0.3)(inputs))
    model = ClusterModel.from_model(keras.Model(inputs, outputs))
    model.compile(optimizer, loss="mse")
    batches = cluster_batches((x, y), CLUSTERS, num_clusters=K, group_size=4, seed=0)
    model.fit(batches, steps_per_epoch=10, epochs=2, verbose=0, callbacks=callbacks)
    return model


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda: Discover(learning_rate=0.05, num_clusters=K, gain=1.0),
        lambda: DiscoverIGT(learning_rate=0.005, num_clusters=K),
        lambda: DiscoverOver(keras.optimizers.Adam(0.01), num_clusters=K),
    ],
    ids=["Discover", "DiscoverIGT", "DiscoverOver"],
)
def test_discover_optimizers_on_cluster_batches(make_optimizer):
    x, y = data()
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, every=10)
    model = train_on_clusters(make_optimizer(), [callback])
    gradients = numpy_cluster_gradients(model, x, y)
    buffers = [np.asarray(buffer, "float64") for buffer in model.optimizer.cluster_gradients]
    differences = np.concatenate(
        [(g - b).reshape(K, -1) for g, b in zip(gradients, buffers, strict=True)], axis=1
    )
    last = callback.history[-1]
    assert [values["step"] for values in callback.history] == [10, 20]
    assert last["discover"] == pytest.approx((differences**2).sum() / K, rel=1e-4)
    centred = differences - differences.mean(axis=0)
    assert last["discover_exact"] == pytest.approx((centred**2).sum() / K, rel=1e-4)

    unmeasured = train_on_clusters(make_optimizer(), [])
    for one, other in zip(model.variables, unmeasured.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_the_name_of_version_0_1_holds_in_place_of_the_default_and_warns():
    x, y = data()
    with pytest.warns(DeprecationWarning, match="`every_steps` is deprecated") as warned:
        callback = BetweenClusterVariance(x, y, CLUSTERS, K, every_steps=6)
    assert [warning.filename for warning in warned] == [__file__]
    train_on_clusters(DiscoverIGT(learning_rate=0.005, num_clusters=K), [callback])
    assert [values["step"] for values in callback.history] == [6, 12, 18]


ON_REPLICAS = """
import json, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from tests.callbacks.test_between_cluster_variance import history_on_two_groups
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    history = history_on_two_groups()
json.dump(history, open(sys.argv[1], "w"))
"""


def history_on_two_groups():
    x, y = data()
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
    model = ClusterModel.from_model(network)
    optimizer = Discover(learning_rate=0.05, num_clusters=K, gain=1.0)
    model.compile(optimizer, loss="mse", jit_compile=False)
    batches = cluster_batches(
        (x, y), CLUSTERS, num_clusters=K, group_size=4, groups_per_batch=2, seed=0
    )
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, every=5)
    model.fit(batches, steps_per_epoch=10, verbose=0, shuffle=False, callbacks=[callback])
    return callback.history


@pytest.mark.slow
def test_replicas_measure_the_same_as_one_device(tmp_path):
    path = tmp_path / "history.json"
    repository = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-c", ON_REPLICAS, str(path)]
    subprocess.run(command, cwd=repository, check=True, timeout=200)
    for one, several in zip(history_on_two_groups(), json.loads(path.read_text()), strict=True):
        assert several == pytest.approx(one, rel=1e-4)


def test_values_join_the_logs_of_the_epoch_in_which_they_were_measured():
    x, y = data()
    model = linear_model(keras.optimizers.SGD(0.1, momentum=0.9), steps_per_execution=2)
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, every=5)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(5)
    history = model.fit(
        dataset, steps_per_epoch=4, epochs=3, verbose=0, shuffle=False, callbacks=[callback]
    ).history
    assert [values["step"] for values in callback.history] == [6, 10]
    # Multiples of 5 are passed at the end of the executions that end with steps 6 and 10.
    assert len(history["between_cluster_variance_sgd"]) == 3
    np.testing.assert_array_equal(
        history["between_cluster_variance_momentum"],
        [np.nan, *(values["momentum"] for values in callback.history)],
    )


def test_a_resumed_run_measures_at_the_same_steps():
    x, y = data()
    model = linear_model("sgd")
    callback = BetweenClusterVariance(x, y, CLUSTERS, K, every=4)
    for _ in range(5):
        model.fit(x, y, batch_size=10, verbose=0, callbacks=[callback])
    assert [values["step"] for values in callback.history] == [4, 8]


def test_several_inputs_and_a_loss_of_ones_own():
    x, y = data()
    first, second = keras.Input((D,), name="first"), keras.Input((D,), name="second")
    keras.utils.set_random_seed(1)
    model = keras.Model([first, second], keras.layers.Dense(1)(first + second))
    model.compile("sgd", loss=["mse"])
    arguments = ([x, np.zeros_like(x)], y, CLUSTERS, K, PROBABILITIES)
    callback = BetweenClusterVariance(*arguments, loss=lambda y, y_pred: (y - y_pred) ** 2)
    callback.set_model(model)
    gradients = numpy_cluster_gradients(model, x, y)
    assert callback.measure()["sgd"] == pytest.approx(
        squared_distance(gradients, mean(gradients)), rel=1e-5
    )
    compiled = BetweenClusterVariance(*arguments)  # with a list of one loss, as Keras takes it
    compiled.set_model(model)
    assert compiled.measure()["sgd"] == pytest.approx(callback.measure()["sgd"])


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=False),
        keras.losses.sparse_categorical_crossentropy,
    ],
)
def test_every_way_to_name_a_loss_gives_the_same(loss):
    x, _ = data()
    y = CLUSTERS
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(K, "softmax")])
    model.compile("sgd", loss=loss)
    callback = BetweenClusterVariance(x, y, CLUSTERS, K)
    callback.set_model(model)
    probabilities = model.predict(x, verbose=0).astype("float64")
    error = (probabilities - np.eye(K)[y])[:, None, :] * x[:, :, None]
    expected = np.stack([error[k == CLUSTERS].mean(axis=0) for k in range(K)])
    np.testing.assert_allclose(callback.cluster_gradients()[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clusters": CLUSTERS[:-1]}, "`clusters` must be integers of shape"),
        ({"clusters": CLUSTERS.astype("float32")}, "`clusters` must be integers of shape"),
        ({"y": [0.0] * (N - 1)}, "must have the same number of examples along their first axes"),
        ({"y": 0.0}, "must have the same number of examples along their first axes"),
        ({"clusters": CLUSTERS + 1}, r"`clusters` must lie in \[0, 3\)"),
        ({"clusters": CLUSTERS - 2}, r"`clusters` must lie in \[0, 3\)"),
        ({"clusters": CLUSTERS - 1}, "`clusters` gives no example of cluster 2 of 3"),
        ({"num_clusters": 4}, "`clusters` gives no example of cluster 3 of 4"),
        ({"every_steps": 0}, "`every_steps` must be an integer of at least 1"),
        ({"every": 0}, "`every` must be an integer of at least 1"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
    ],
)
def test_bad_arguments_get_a_sentence(changes, message):
    x, y = data()
    arguments = {"x": x, "y": y, "clusters": CLUSTERS, "num_clusters": K, **changes}
    with pytest.raises(ValueError, match=message):
        BetweenClusterVariance(**arguments)


def test_clusters_of_every_kind():
    x, y = data()
    names = np.array(["a", "b", "c"])[CLUSTERS]
    left_out = np.where(np.arange(N) == N - 1, -1, CLUSTERS)
    for clusters, expected in [
        (CLUSTERS[:, None], CLUSTERS),
        (names, CLUSTERS),
        (left_out, left_out),
    ]:
        members = BetweenClusterVariance(x, y, clusters, K)._members
        for k, found in enumerate(members):
            np.testing.assert_array_equal(found, np.flatnonzero(expected == k))
