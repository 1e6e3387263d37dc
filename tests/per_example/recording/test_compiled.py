"""Eager calls compile by themselves: once, and never with yesterday's numbers."""

import gc
import logging
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tests.problems import sequential
from tf_gradvar import per_example
from tf_gradvar.per_example.recording import compiled
from tf_gradvar.per_example.recording.python_state import UnknownStateError, state_of_value

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")
Y = RNG.normal(size=(6, 2)).astype("float32")
WEIGHT = 1.0  # a global that losses below refer to


def small():
    return sequential((4,), layers.Dense(3, "tanh"), layers.Dense(2))


def looped_norms(model, x, y, loss):
    """One backward pass an example, with gradients in NumPy."""
    norms = []
    for i in range(len(x)):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(loss(y[i : i + 1], model(x[i : i + 1])))
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        norms.append(sum(np.sum(g.numpy().astype("float64") ** 2) for g in gradients))
    return np.array(norms)


def check(model, loss, x=X, y=Y, **options):
    found = per_example.squared_norms(model, x, y, loss, **options)
    np.testing.assert_allclose(found, looped_norms(model, x, y, loss), rtol=1e-4)


def squared_error(y, p):
    return tf.reduce_sum((y - p) ** 2, -1)


@pytest.fixture
def traces(monkeypatch):
    """Counts tracings; the list has one entry (the specs) for each."""
    found = []
    real = compiled._Call.trace
    monkeypatch.setattr(
        compiled._Call, "trace", lambda self, specs: found.append(specs) or real(self, specs)
    )
    return found


def test_a_second_call_traces_nothing_and_reads_new_weights(traces):
    model = small()
    check(model, squared_error)
    model.set_weights([w + 0.5 for w in model.get_weights()])
    check(model, squared_error)
    check(model, squared_error, x=-X)
    assert len(traces) == 1


def test_a_recurrent_layer_is_traced_once(traces):
    model = sequential((3, 2), layers.LSTM(2))
    for _ in range(2):
        check(model, squared_error, X.reshape(4, 3, 2), Y[:4])
    assert len(traces) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda *a: per_example.statistics(*a, second_moments=True, sketch_size=4, per_layer=True),
        lambda *a: per_example.statistics(*a, other_weights=[w + 1 for w in a[0].get_weights()]),
        lambda *a: per_example.squared_norms(*a, per_layer=True, sample_weight=np.arange(6.0)),
        lambda *a: per_example.second_moments(*a, weights=[w * 2 for w in a[0].get_weights()]),
        lambda *a: per_example.sketch(*a, 8, 3),
        lambda *a: per_example.gradients(*a, chunk_size=4),
        lambda *a: per_example.inner_products(*a, [w + 1 for w in a[0].get_weights()]),
        lambda *a: per_example.inner_products(*a, a[0].get_weights(), per_layer=True),
    ],
)
def test_every_quantity_is_compiled_to_the_same_result(call, traces):
    model = small()
    call(model, X, Y, squared_error)
    found = call(model, X, Y, squared_error)
    assert len(traces) == 1
    tf.config.run_functions_eagerly(True)
    try:
        plain = call(model, X, Y, squared_error)
    finally:
        tf.config.run_functions_eagerly(False)
    assert len(traces) == 1
    assert type(found) is type(plain)
    tf.nest.assert_same_structure(found, plain)
    for ours, theirs in zip(tf.nest.flatten(found), tf.nest.flatten(plain), strict=True):
        if theirs is not None:  # inner products may cancel: rounding is of the largest term
            atol = 1e-6 * (1 + np.max(np.abs(theirs)))
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=atol)


def test_ragged_batches_end_in_one_function_for_all_sizes(traces):
    model = small()
    for size in (6, 5, 4, 3, 2, 1, 6):
        check(model, squared_error, X[:size], Y[:size])
    assert [specs[0].shape[0] for specs in traces] == [6, 5, 4, None]


def test_a_lambda_written_anew_is_compiled_once_as_long_as_it_says_the_same(traces):
    model = small()
    for factor in (1.0, 1.0, 2.0, 1.0):
        check(model, lambda y, p, f=factor: f * squared_error(y, p))
    assert len(traces) == 2

    def weighted():
        return squared_error(Y, Y) * 0 + WEIGHT  # never called: its code is compared

    assert state_of_value(weighted) == state_of_value(weighted)


def test_losses_that_change_between_calls(traces):
    global WEIGHT
    model = small()
    scale = [1.0]

    def closed(y, p):
        return scale[0] * WEIGHT * squared_error(y, p)

    class Scaled(keras.losses.Loss):
        factor = 1.0

        def call(self, y, p):
            return self.factor * squared_error(y, p)

    scaled = Scaled()
    for change in (1.0, 2.0, 3.0):
        scale[0] = change
        WEIGHT = 1.0 / change**2
        check(model, closed)
        scaled.factor = change
        found = per_example.squared_norms(model, X, Y, scaled)
        np.testing.assert_allclose(
            found, looped_norms(model, X, Y, squared_error) * change**2, rtol=1e-4
        )
    Scaled.call = lambda self, y, p: 5.0 * squared_error(y, p)
    found = per_example.squared_norms(model, X, Y, scaled)
    np.testing.assert_allclose(found, looped_norms(model, X, Y, squared_error) * 25, rtol=1e-4)
    huber = keras.losses.Huber(delta=0.1)
    small_delta = per_example.squared_norms(model, X, Y, huber).numpy()
    huber._fn_kwargs["delta"] = 100.0
    assert np.all(per_example.squared_norms(model, X, Y, huber).numpy() > small_delta)


class Annealed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)
        self.rate = 1.0

    def call(self, x):
        return self.dense(x * self.rate) * WEIGHT


def _freeze(model):
    model.dense.trainable = False
    model.dense.trainable = True
    model.dense.bias.trainable = False


def _replace_call(model):
    real = type(model.dense).call
    model.dense.call = lambda x: 2.0 * real(model.dense, x)


def _activation(model):
    model.dense.activation = keras.activations.tanh


def _rate(model):
    model.rate = 0.5


def _global(model):
    global WEIGHT
    WEIGHT = 0.25


def _lora(model):
    model.dense.enable_lora(1)
    model.dense.lora_kernel_b.assign(np.ones((1, 2)))


@pytest.mark.parametrize("change", [_freeze, _replace_call, _activation, _rate, _global, _lora])
def test_models_that_change_between_calls(change, traces):
    global WEIGHT
    WEIGHT = 1.0
    model = Annealed()
    model(X)
    check(model, squared_error)
    check(model, squared_error)
    before = per_example.squared_norms(model, X, Y, squared_error).numpy()
    change(model)
    after = per_example.squared_norms(model, X, Y, squared_error).numpy()
    assert np.abs(after / before - 1).min() > 1e-3
    check(model, squared_error)
    assert len(traces) == 2


def test_a_rule_registered_again_takes_effect():
    class Scale(layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.factor

    def rule(times):
        return lambda layer, x, d: [(layer.factor, per_example.Explicit(times * x * d))]

    model = sequential((4,), Scale())
    y = np.zeros((6, 4), "float32")
    per_example.register_rule(Scale, rule(1.0))
    first = per_example.squared_norms(model, X, y, squared_error)
    per_example.register_rule(Scale, rule(3.0))
    second = per_example.squared_norms(model, X, y, squared_error)
    del per_example.RULES[Scale]
    np.testing.assert_allclose(second, 9 * first.numpy(), rtol=1e-6)


def test_fit_between_two_calls_traces_nothing_again(traces):
    model = small()
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    check(model, squared_error)
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, verbose=0)
    check(model, squared_error)
    assert len(traces) == 1


def test_a_dropped_model_is_collected_with_its_functions():
    model = small()
    per_example.squared_norms(model, X, Y, "mse")
    per_example.gradients(model, X, Y, lambda y, p: squared_error(y, 2 * p))
    before, gone = len(compiled._programs), weakref.ref(model)
    assert len(compiled._programs[model]._known) == 2
    del model
    gc.collect()
    assert gone() is None
    assert len(compiled._programs) < before


def test_a_loss_that_changes_at_every_call_is_soon_not_traced_any_more(traces, monkeypatch):
    model = small()
    monkeypatch.setattr(compiled, "_MOST_PROGRAMS", 3)
    for step in range(6):
        per_example.squared_norms(model, X, Y, lambda y, p, s=step: (s + 1) * squared_error(y, p))
    assert len(traces) == 3
    assert len(compiled._programs[model]._known) == 3
    for _ in range(2):  # seen twice in a row: worth it after all
        check(model, squared_error)
    assert len(traces) == 4


def test_what_cannot_be_compared_or_traced_runs_as_before(traces):
    model = small()
    table = np.ones(2**22 + 1, "float32")
    check(model, lambda y, p: squared_error(y, p) * table[0])

    assert not traces

    def random_loss(y, p):
        return squared_error(y, p) * float(np.random.normal())  # noqa: NPY002

    for value in (keras.optimizers.SGD(), random_loss, table):
        with pytest.raises(UnknownStateError):
            state_of_value(value)

    def in_python(y, p):
        return squared_error(y, p) * (1.0 if float(tf.reduce_sum(p)) < 1e9 else 0.0)

    check(model, in_python)
    check(model, in_python)
    assert len(traces) == 1  # tried once


def test_what_a_model_was_compiled_with_is_read_again(traces):
    model = small()
    for loss, weight in (("mse", None), ("mae", None), ("mae", [3.0])):
        model.compile("sgd", loss, loss_weights=weight)
        found = per_example.squared_norms(model, X, Y)
        own = looped_norms(model, X, Y, keras.losses.get(loss))
        np.testing.assert_allclose(found, own * (1 if weight is None else 9), rtol=1e-4)
    assert len(traces) == 3


def test_examples_that_interact_are_refused_before_anything_is_traced(traces):
    with pytest.raises(ValueError, match="must be a sum over the examples") as caught:
        per_example.squared_norms(
            small(), X, Y, lambda y, p: tf.reduce_sum((p - tf.reduce_mean(p, 0)) ** 2, -1)
        )
    assert not traces
    assert caught.value.__context__ is None


def test_inside_a_function_or_a_scope_nothing_is_compiled(traces):
    model = small()
    inner = tf.function(lambda x, y: per_example.squared_norms(model, x, y, "mse"))
    inner(X, Y)
    assert not traces
    with keras.StatelessScope():
        per_example.squared_norms(model, X, Y, "mse")
    assert not traces


def test_errors_are_those_of_a_plain_call():
    model = small()
    with pytest.raises(ValueError, match="must give one value per example") as caught:
        per_example.squared_norms(model, X, Y, lambda y, p: tf.reduce_mean(p))
    text = str(caught.value)
    assert "in user code" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert not any("polymorphic" in str(entry.path) for entry in caught.traceback)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        per_example.gradients(model, X, Y, "mse", nonsense=1)


def test_a_tape_around_an_eager_call_sees_through_it():
    model = small()
    kernel = model.trainable_variables[0]

    def penalty_gradient():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(per_example.squared_norms(model, X, Y, "mse"))
        return tape.gradient(total, kernel.value).numpy()

    ours = penalty_gradient()
    tf.config.run_functions_eagerly(True)
    try:
        plain = penalty_gradient()
    finally:
        tf.config.run_functions_eagerly(False)
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(ours, plain, rtol=1e-4)


def test_reasons_for_running_eagerly_can_be_logged(caplog):
    big = np.ones(2**22 + 1, "float32")
    with caplog.at_level(logging.DEBUG, "tf_gradvar.per_example"):
        per_example.squared_norms(small(), X, Y, lambda y, p: squared_error(y, p) * big[0])
    assert "Running _statistics eagerly" in caplog.text
    assert "an array of" in caplog.text
