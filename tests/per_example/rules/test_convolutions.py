"""Rules of convolutions on their own: every padding, stride, dilation and layout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tf_gradvar.per_example.rules.registry import find_rule

EXAMPLES = 3
LENGTHS = (7, 6, 5)


def check_rule(layer, shape):
    """The rule's gradients of <layer(x), d> against a tape over one example at a time."""
    rng = np.random.default_rng(5)
    x = tf.constant(rng.normal(size=(EXAMPLES, *shape)), tf.float32)
    d = tf.constant(rng.normal(size=layer(x).shape), tf.float32)
    if layer.use_bias:
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    variables = layer.trainable_variables
    rule = find_rule(layer)
    forms = {id(v): form for v, form in rule.function(layer, x, d)}
    assert set(forms) == {id(v) for v in variables}
    for i in range(EXAMPLES):
        with tf.GradientTape() as tape:
            product = tf.reduce_sum(layer(x[i : i + 1]) * d[i : i + 1])
        expected = tape.gradient(product, [v.value for v in variables])
        for variable, gradient in zip(variables, expected, strict=True):
            found = forms[id(variable)].explicit()[i]
            np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-4)


def layer_of(kind, rank, **options):
    layer_class = getattr(layers, kind.replace("*", f"{rank}D"))
    return layer_class(**options)


def shape_of(rank, channels, data_format=None):
    lengths = LENGTHS[:rank]
    return (channels, *lengths) if data_format == "channels_first" else (*lengths, channels)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("strides", "dilation_rate"), [(1, 1), (2, 1), (3, 1), (1, 2)])
@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        ("Conv*", 3),
        ("SeparableConv*", 1),
        ("SeparableConv*", 2),
        ("Conv*Transpose", 1),
        ("Conv*Transpose", 2),
        ("Conv*Transpose", 3),
    ],
)
def test_geometry(kind, rank, strides, dilation_rate, padding):
    if "Transpose" in kind and rank > 1 and dilation_rate > 1:
        pytest.skip("TensorFlow has no such kernel on a CPU")
    if rank == 3 and dilation_rate > 1 and strides > 1:
        pytest.skip("Keras refuses both")
    options = {"depth_multiplier": 2} if "Separable" in kind else {}
    layer = layer_of(
        kind,
        rank,
        filters=3,
        kernel_size=(3, 2, 2)[:rank],
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        **options,
    )
    check_rule(layer, shape_of(rank, 2))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("output_padding", [0, 1, 2])
@pytest.mark.parametrize("kernel_size", [1, 2, 4])
def test_output_padding(kernel_size, output_padding, padding):
    if padding == "same" and kernel_size % 2 == 0 and output_padding == 0:
        pytest.skip("TensorFlow refuses these lengths")
    options = {"padding": padding, "output_padding": output_padding}
    try:
        layer = layers.Conv2DTranspose(3, kernel_size, strides=3, use_bias=False, **options)
    except ValueError:
        if output_padding:
            raise
        pytest.skip("Keras before 3.11 refuses an output padding of 0")
    check_rule(layer, (3, 4, 2))


@pytest.mark.parametrize(
    ("kind", "rank"),
    [("Conv*", 2), ("Conv*", 3), ("SeparableConv*", 1), ("SeparableConv*", 2),
     ("DepthwiseConv*", 2), ("Conv*Transpose", 1), ("Conv*Transpose", 2)],
)  # fmt: skip
def test_channels_first(kind, rank):
    """With as many filters as columns, where Keras adds the bias to the last axis."""
    options = {"data_format": "channels_first", "kernel_size": 2, "strides": 2, "padding": "same"}
    if "Depthwise" not in kind:
        options["filters"] = 3 if "Transpose" not in kind else 12
    layer = layer_of(kind, rank, **options)
    shape = shape_of(rank, 4, "channels_first")
    try:
        layer(np.zeros((1, *shape), "float32"))
    except Exception as error:
        pytest.skip(f"not on this processor: {type(error).__name__}")
    check_rule(layer, shape)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "causal"])
def test_adapters(groups, padding):
    """One group has a rule, several have the fallback."""
    layer = layers.Conv1D(4, 3, padding=padding, groups=groups)
    layer(np.zeros((1, 7, 2), "float32"))
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(keras.random.normal((2, 4), seed=1))
    if groups == 1:
        check_rule(layer, (7, 2))
    else:
        assert find_rule(layer) is None


def test_lengths_that_are_not_known():
    """In a graph that knows ranks and channels only."""
    layer = layers.Conv2DTranspose(3, 3, strides=2, padding="same")
    x = tf.constant(np.random.default_rng(2).normal(size=(EXAMPLES, 4, 5, 2)), tf.float32)
    d = tf.ones(layer(x).shape)
    specs = [tf.TensorSpec([None, None, None, c]) for c in (2, 3)]

    @tf.function(input_signature=specs)
    def kernel_gradients(x, d):
        return find_rule(layer).function(layer, x, d)[0][1].explicit()

    known = find_rule(layer).function(layer, x, d)[0][1].explicit()
    np.testing.assert_allclose(kernel_gradients(x, d), known, rtol=1e-5)
