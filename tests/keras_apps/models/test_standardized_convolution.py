"""A convolution that does not depend on the scale of its weights, in every precision."""

import keras
import numpy as np
import pytest

from keras_apps.models import StandardizedConv2D
from tests.oracles import per_example_oracle as oracle
from tf_gradvar import per_example

X = np.random.default_rng(0).normal(size=(3, 3, 3, 3))


def layer_of(dtype, **options):
    """A layer of three filters on images of three rows, columns and channels."""
    layer = StandardizedConv2D(3, 3, dtype=dtype, **options)
    layer.build(X.shape)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 3)) + 0.5
    layer.set_weights([kernel, np.float64([1.0, -2.0, 0.5])])
    return layer, kernel


def expected(kernel):
    """One product a filter, with weights of mean zero and deviation one."""
    outputs = np.tile([1.0, -2.0, 0.5], (3, 1))
    for o in range(3):
        weights = kernel[..., o].ravel()
        weights = (weights - weights.mean()) / weights.std()
        outputs[:, o] += X.reshape(3, -1) @ weights
    return outputs


@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float64", 1e-9), ("float32", 1e-5), ("mixed_bfloat16", 3e-2)]
)
def test_against_numpy(dtype, rtol):
    layer, kernel = layer_of(dtype)
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(layer(X), "float64"))
    assert layer.kernel.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(outputs[:, 0, 0], expected(kernel), rtol=rtol, atol=3 * rtol)


def test_weights_far_from_zero_keep_their_digits_in_mixed_precision():
    """Moments of weights rounded to 8 bits would be those of noise: 100 +- 0.1 is 100 then."""
    layer, kernel = layer_of("mixed_bfloat16")
    layer.kernel.assign(100 + 0.1 * kernel)
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(layer(X), "float64"))
    np.testing.assert_allclose(outputs[:, 0, 0], expected(kernel), rtol=3e-2, atol=0.1)


def test_weights_that_are_all_alike_give_the_bias():
    layer, _ = layer_of("float32")
    layer.kernel.assign(np.full((3, 3, 3, 3), 0.25))
    np.testing.assert_array_equal(layer(X)[0, 0, 0], np.float32([1.0, -2.0, 0.5]))


def test_saved_and_loaded():
    layer, _ = layer_of("float32", epsilon=0.5, activation="relu")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.set_weights(layer.get_weights())
    assert type(again) is StandardizedConv2D
    assert again.epsilon == 0.5
    np.testing.assert_array_equal(again(X), layer(X))


class Halved(StandardizedConv2D):
    """Standardized otherwise."""

    def standardized(self, kernel):
        standardized, deviation = super().standardized(kernel)
        return standardized / 2, deviation


def adapted(layer):
    layer.build((None, 4, 3, 2))
    layer.enable_lora(2)
    return layer


@pytest.mark.parametrize(
    "make",
    [lambda: Halved(3, 2, name="other"), lambda: adapted(StandardizedConv2D(3, 2, name="other"))],
    ids=["subclass", "adapter"],
)
def test_what_the_rule_does_not_cover_takes_the_exact_fallback(make):
    keras.utils.set_random_seed(0)
    layer = make()
    model = keras.Sequential([keras.Input((4, 3, 2)), layer, keras.layers.Flatten()])
    x, y = np.random.default_rng(0).normal(size=(3, 4, 3, 2)).astype("float32"), np.zeros((3, 18))
    for variable in model.trainable_variables:
        variable.assign_add(np.random.default_rng(2).normal(size=variable.shape))
    loss = keras.losses.MeanSquaredError()
    found = per_example.squared_norms(model, x, y, loss)
    gradients = oracle.loop_gradients(model, x, y, loss)
    np.testing.assert_allclose(found, oracle.squared_norms(gradients), rtol=1e-4)
    with pytest.raises(ValueError, match="other"):
        per_example.squared_norms(model, x, y, loss, on_unknown="raise")
