"""Losses in all their forms, and every refusal."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.problems import Swish, sequential
from tf_gradvar import per_example

X = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")
MODEL = sequential((8,), layers.Dense(2))
BATCH_LOSS = lambda y, p: tf.reduce_mean((y - p) ** 2)  # noqa: E731


def norms(loss, model=MODEL, x=X, y=Y, **options):
    return np.asarray(per_example.squared_norms(model, x, y, loss, **options))


@pytest.mark.parametrize(
    "loss",
    [
        "mean_squared_error",
        keras.losses.mean_squared_error,
        keras.losses.MeanSquaredError(reduction=None),
        keras.losses.MeanSquaredError(reduction="sum"),
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        lambda y, p: tf.reduce_mean((y - p) ** 2, -1),
        lambda y, p: (y - p) ** 2,
    ],
)
def test_a_loss_in_any_form(loss):
    np.testing.assert_allclose(norms(loss), norms("mse"), rtol=1e-5)


def test_sums_and_means_over_positions():
    model = sequential((4, 2), layers.Dense(2))
    x, y = X.reshape(6, 4, 2), np.zeros((6, 4, 2), "float32")
    mean = norms(keras.losses.MeanSquaredError(), model, x, y)
    total = norms(keras.losses.MeanSquaredError(reduction="sum"), model, x, y)
    np.testing.assert_allclose(total, 16 * mean, rtol=1e-5)


def test_sample_weights_multiply_the_gradient():
    weights = np.array([0, 1, 2, 0.5, 1, 3], "float32")
    np.testing.assert_allclose(
        norms("mse", sample_weight=weights), weights**2 * norms("mse"), rtol=1e-5
    )
    np.testing.assert_allclose(
        norms("mse", sample_weight=weights[:, None]), weights**2 * norms("mse"), rtol=1e-5
    )


def test_labels_of_one_axis_do_not_broadcast():
    model = sequential((8,), layers.Dense(1, "sigmoid"))
    y = np.array([0, 1, 1, 0, 1, 0], "float32")
    for loss in ("binary_crossentropy", keras.losses.BinaryCrossentropy()):
        np.testing.assert_allclose(
            norms(loss, model, y=y), norms(loss, model, y=y[:, None]), rtol=1e-6
        )
    summed = sequential((8,), layers.Dense(1), layers.Flatten(), layers.Reshape(()))
    np.testing.assert_allclose(
        norms("mse", sequential((8,), layers.Dense(1)), y=y[:, None]).shape, (6,)
    )
    assert norms(lambda y, p: (y - p) ** 2, summed, y=y[:, None]).shape == (6,)


def two_outputs():
    inputs = keras.Input((8,))
    return keras.Model(
        inputs, [layers.Dense(2, name="a")(inputs), layers.Dense(2, name="b")(inputs)]
    )


def test_one_loss_for_all_outputs():
    model = two_outputs()
    both = norms("mse", model, y=[Y, Y])
    np.testing.assert_allclose(both, norms(["mse", "mse"], model, y=(Y, Y)), rtol=1e-6)
    np.testing.assert_allclose(
        both, norms({"a": "mse", "b": "mse"}, model, y={"a": Y, "b": Y}), rtol=1e-6
    )
    halved = norms("mse", model, y=[Y, Y], loss_weights=[0.5, 0.5])
    np.testing.assert_allclose(halved, both / 4, rtol=1e-5)


def test_weights_in_either_order():
    model = sequential((8,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2))
    everything = [w + 0.5 for w in model.get_weights()]
    trained = [v.numpy() + 0.5 for v in model.trainable_variables]
    moved = sequential((8,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(2))
    moved.set_weights(everything)
    np.testing.assert_allclose(
        norms("mse", model, weights=everything), norms("mse", moved), rtol=1e-5
    )
    statistics = moved.layers[1]
    statistics.moving_mean.assign(statistics.moving_mean - 0.5)
    statistics.moving_variance.assign(statistics.moving_variance - 0.5)
    np.testing.assert_allclose(norms("mse", model, weights=trained), norms("mse", moved), rtol=1e-5)


def test_python_lists_are_data():
    np.testing.assert_allclose(norms("mse", x=X.tolist(), y=Y.tolist()), norms("mse"), rtol=1e-6)


class Unbuilt(keras.Model):
    def call(self, x):
        return x


def frozen():
    model = sequential((8,), layers.Dense(2))
    model.trainable = False
    return model


def normalized():
    return sequential((8,), layers.BatchNormalization(), layers.Dense(2))


def noisy_unknown():
    class Noisy(Swish):
        def __init__(self):
            super().__init__()
            self.dropout = layers.Dropout(0.5)

        def call(self, x, training=False):
            return self.dropout(super().call(x), training=training)

    return sequential((8,), Noisy(), layers.Dense(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": BATCH_LOSS}, "`loss` must give one value per example"),
        ({"loss": lambda y, p: tf.zeros([3])}, "`loss` must give one value per example"),
        ({"loss": None}, "`loss` must be given for the model"),
        ({"loss": [None]}, "at least one output"),
        ({"loss": None, "loss_weights": [2.0]}, "`loss_weights` must come with a `loss`"),
        ({"loss": {"nobody": "mse"}}, "names of the model's outputs"),
        ({"model": two_outputs(), "loss": ["mse"], "y": [Y, Y]}, "one entry for each"),
        ({"model": two_outputs(), "loss": "mse"}, "`y` must be a list or dictionary"),
        ({"model": normalized(), "training": True}, "method='monte_carlo'"),
        ({"model": noisy_unknown(), "training": True}, "draws random numbers"),
        ({"model": Unbuilt()}, "`model` must be built"),
        ({"model": frozen()}, "`model` must have trainable variables"),
        ({"y": Y[:5]}, "`y` must have one entry for each of the 6 examples"),
        ({"sample_weight": np.ones(4)}, "`sample_weight` must have one entry"),
        ({"sample_weight": np.ones((6, 2))}, "`sample_weight` must match the leading axes"),
        ({"x": X[:0], "y": Y[:0]}, "`x` must hold at least one example"),
        ({"weights": [np.zeros((8, 2))]}, "`weights` must hold one array"),
        ({"other_weights": [np.zeros(2), np.zeros((8, 2))]}, "`other_weights` must hold"),
        ({"chunk_size": 0}, "`chunk_size` must be"),
        ({"on_unknown": "ignore"}, "`on_unknown` must be"),
        (
            {"model": sequential((8,), Swish(), layers.Dense(2)), "on_unknown": "raise"},
            "`on_unknown` is 'raise'",
        ),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        norms(**{"loss": "mse", **arguments})


def test_a_loss_that_cannot_be_called():
    with pytest.raises(TypeError, match="`loss` must be a Keras loss"):
        norms(3.0)


def test_examples_that_cannot_be_told_apart():
    class Pooled(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, x):
            return keras.ops.broadcast_to(self.head(keras.ops.mean(x, 0, keepdims=True)), (6, 2))

    model = Pooled()
    model(X)
    with pytest.raises(ValueError, match="`model` must run on batches of any size"):
        norms("mse", model)


def test_rules_of_users():
    class Shift(layers.Layer):
        def build(self, shape):
            self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros")
            self.other = self.add_weight(shape=(shape[-1],), initializer="zeros")

        def call(self, x):
            return x + self.shift + self.other

    class Plain(Shift):
        pass

    model = sequential((8,), layers.Dense(2), Shift())
    exact = norms("mse", model)
    form = per_example.Explicit
    try:
        per_example.register_rule(Shift, lambda layer, x, d: [(layer.shift, form(d))])
        with pytest.raises(ValueError, match="must return a form for each trainable"):
            norms("mse", model)
        per_example.register_rule(
            Shift, lambda layer, x, d: [(layer.shift, form(d)), (layer.other, form(d))]
        )
        np.testing.assert_allclose(norms("mse", model, on_unknown="raise"), exact, rtol=1e-5)
        norms("mse", sequential((8,), layers.Dense(2), Plain()), on_unknown="raise")
        per_example.register_rule(Shift, lambda *_: [], supports=lambda layer: False)
        with pytest.raises(ValueError, match="there is no rule"):
            norms("mse", model, on_unknown="raise")
    finally:
        per_example.RULES.pop(Shift, None)


def test_a_rule_that_sees_the_whole_call():
    class Turned(layers.Layer):
        def build(self, shape):
            self.shift = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x, sign=1.0, *, power=2):
            return sign * (x + self.shift) ** power

    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.head, self.turned = layers.Dense(2), Turned()

        def call(self, x):
            return self.turned(self.turned(self.head(x)), sign=-0.5, power=3)

    def rule(layer, x, d, call):
        assert set(call.arguments) == {"x", "sign", "power"}
        power = call.arguments["power"]
        return [(layer.shift, per_example.Explicit(d * power * call.outputs / (x + layer.shift)))]

    model = Both()
    model(X)
    exact = norms("mse", model)
    try:
        per_example.register_rule(Turned, rule, whole_call=True)
        np.testing.assert_allclose(norms("mse", model, on_unknown="raise"), exact, rtol=1e-4)
    finally:
        per_example.RULES.pop(Turned, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((3, print), "`layer_class` must be"), ((layers.Dense, 3), "`rule` must be a function")],
)
def test_bad_rules_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        per_example.register_rule(*arguments)


def test_an_equation_without_a_rule():
    """The batch axis is not the first: the fallback, and the rule itself refuses."""
    from tf_gradvar.per_example.rules.dense import einsum_dense_rule

    layer = layers.EinsumDense("abc,cd->bad", output_shape=(None, 3))
    layer.build((None, 4, 5))
    zeros = tf.zeros([2, 4, 5])
    with pytest.raises(ValueError, match="equation"):
        einsum_dense_rule(layer, zeros, zeros)


def test_other_backends_are_refused():
    pytest.importorskip("jax")
    code = "import tf_gradvar.per_example"
    environment = {"KERAS_BACKEND": "jax", "PATH": "/usr/bin"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "needs the TensorFlow backend" in result.stderr
