"""Rules of recurrent layers on their own: every option against one example at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_gradvar import per_example
from tf_gradvar.per_example.rules.registry import find_rule

EXAMPLES, STEPS, FEATURES = 3, 4, 2
MASKS = np.array([[True, True, False, True], [False, True, True, False], [True] * 4])


def check_rule(layer, steps=STEPS, **arguments):
    """The rule's gradients of <layer(x), d> against a tape over one example at a time."""
    rng = np.random.default_rng(4)

    def normal(shape):
        return tf.constant(rng.normal(size=shape), tf.float32)

    x = normal((EXAMPLES, steps, FEATURES))
    outputs = layer(x, **arguments)
    cotangents = [normal(t.shape) for t in keras.tree.flatten(outputs)]
    for variable in layer.trainable_variables:
        variable.assign(normal(variable.shape))
    forms = find_rule(layer).forms(layer, x, cotangents, ((x,), arguments), outputs)
    forms = {id(v): form for v, form in forms}
    assert set(forms) == {id(v) for v in layer.trainable_variables}
    for i in range(EXAMPLES):
        one = slice(i, i + 1)
        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(
                layer(x[one], **keras.tree.map_structure(lambda t, one=one: t[one], arguments))
            )
            total = tf.add_n(
                [tf.reduce_sum(o * c[one]) for o, c in zip(outputs, cotangents, strict=True)]
            )
        expected = tape.gradient(total, [v.value for v in layer.trainable_variables])
        for variable, gradient in zip(layer.trainable_variables, expected, strict=True):
            found = forms[id(variable)].explicit()[i]
            np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-5)


CELLS = {
    "lstm": (layers.LSTM, {}),
    "gru": (layers.GRU, {}),
    "gru_reset_before": (layers.GRU, {"reset_after": False}),
    "simple": (layers.SimpleRNN, {}),
    "cell": (lambda units, **options: layers.RNN(layers.GRUCell(units), **options), {}),
}


@pytest.fixture(params=CELLS)
def make(request):
    layer_class, own = CELLS[request.param]
    # As many units as steps: nothing may depend on which axis is which.
    return lambda **options: layer_class(STEPS, **own, **options)


def test_last_output(make):
    check_rule(make())


def test_all_that_it_returns_backwards(make):
    check_rule(make(return_sequences=True, return_state=True, go_backwards=True))


@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"zero_output_for_mask": True}])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_masks(make, return_sequences, options):
    layer = make(return_sequences=return_sequences, **options)
    check_rule(layer, mask=tf.constant(MASKS))


def test_masks_unrolled(make):
    layer = make(return_sequences=True, unroll=True, zero_output_for_mask=True)
    check_rule(layer, mask=tf.constant(MASKS))


def test_initial_state(make):
    layer = make(return_state=True)
    states = layer(tf.zeros((EXAMPLES, STEPS, FEATURES)))[1:]
    rng = np.random.default_rng(9)
    given = [tf.constant(rng.normal(size=s.shape), tf.float32) for s in states]
    check_rule(layer, initial_state=given, mask=tf.constant(MASKS))


@pytest.mark.parametrize(
    "options",
    [{"activation": "relu"}, {"activation": None}, {"use_bias": False}],
    ids=str,
)
def test_other_cells(options):
    check_rule(layers.SimpleRNN(3, **options))
    for recurrent_activation in ("sigmoid", "tanh"):
        check_rule(layers.LSTM(3, recurrent_activation=recurrent_activation, **options))
        check_rule(layers.GRU(3, recurrent_activation=recurrent_activation, **options))


def test_implementation_by_parts():
    check_rule(layers.LSTM(3, recurrent_dropout=0.5))
    check_rule(layers.GRU(3, recurrent_dropout=0.5))


def test_bidirectional_layers_are_not_fused(monkeypatch):
    """On a GPU Keras runs both directions at once, past the two layers."""
    if not hasattr(layers.Bidirectional, "_call_fused_lstm"):
        pytest.skip("newer versions of Keras have it")
    fused = []

    def call_fused(self, *arguments):
        fused.append(self)
        raise NotImplementedError

    monkeypatch.setattr(layers.Bidirectional, "_call_fused_lstm", call_fused)
    both = layers.Bidirectional(layers.LSTM(2))
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), both])
    x, y = np.ones((3, STEPS, FEATURES), "float32"), np.zeros((3, 4), "float32")
    model(x)
    assert fused
    fused.clear()
    per_example.squared_norms(model, x, y, "mse", on_unknown="raise")
    assert not fused
    assert both.forward_layer.use_cudnn == both.backward_layer.use_cudnn == "auto"


def test_stateful_layers_are_refused():
    """An example has no gradient of its own where the batch before it matters."""
    inputs = keras.Input(batch_shape=(EXAMPLES, STEPS, FEATURES))
    model = keras.Model(inputs, layers.LSTM(2, stateful=True)(inputs))
    assert find_rule(model.layers[1]) is None
    x = np.zeros((EXAMPLES, STEPS, FEATURES), "float32")
    try:
        model(x[:1])
    except Exception:
        message = "must run on batches of any size"
    else:  # older versions of Keras run it on one example, with the states of all
        message = "must have a batch axis"
    with pytest.raises(ValueError, match=message):
        per_example.squared_norms(model, x, np.zeros((EXAMPLES, 2), "float32"), "mse")


def test_dropout_in_training_is_refused():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.GRU(2, dropout=0.5)])
    arguments = (model, np.ones((3, STEPS, FEATURES)), np.zeros((3, 2)), "mse")
    per_example.squared_norms(*arguments)
    with pytest.raises(ValueError, match="must be False for a recurrent layer with dropout"):
        per_example.squared_norms(*arguments, training=True)


def test_training_without_dropout():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.SimpleRNN(2)])
    arguments = (model, np.ones((3, STEPS, FEATURES)), np.zeros((3, 2)), "mse")
    np.testing.assert_array_equal(
        per_example.squared_norms(*arguments, training=True),
        per_example.squared_norms(*arguments),
    )


class OwnLoop(layers.LSTM):
    def inner_loop(self, sequences, initial_state, mask, training=False):
        return super().inner_loop(2 * sequences, initial_state, mask, training)


class OwnCell(layers.LSTMCell):
    pass


def test_what_others_have_changed_has_no_rule():
    assert find_rule(OwnLoop(2)) is None
    assert find_rule(layers.RNN(OwnCell(2))) is None
    assert find_rule(layers.RNN([layers.LSTMCell(2)])) is None
    assert find_rule(layers.ConvLSTM1D(2, 2)) is None


def test_lengths_that_are_not_known():
    """Batches and sequences of any length, compiled once."""
    model = keras.Sequential([keras.Input((None, FEATURES)), layers.GRU(2)])
    specs = [tf.TensorSpec([None, None, FEATURES]), tf.TensorSpec([None, 2])]

    @tf.function(input_signature=specs)
    def norms(x, y):
        return per_example.squared_norms(model, x, y, "mse")

    rng = np.random.default_rng(0)
    for examples, steps in ((2, 3), (4, 2)):
        x = rng.normal(size=(examples, steps, FEATURES)).astype("float32")
        y = rng.normal(size=(examples, 2)).astype("float32")
        expected = per_example.squared_norms(model, x, y, "mse")
        np.testing.assert_allclose(norms(x, y), expected, rtol=1e-5)
