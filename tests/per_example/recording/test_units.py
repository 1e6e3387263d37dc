"""Layers that own the variables that are measured."""

import numpy as np
from keras import layers

from tests.problems import sequential
from tf_gradvar import per_example


def test_a_layer_that_trains_inside_a_frozen_one_is_still_measured_by_its_rule():
    inner = layers.Dense(3, name="adapted")
    block = sequential((4,), inner)
    model = sequential((4,), block, layers.Dense(2, name="head"))
    block.trainable = False  # as `Backbone.enable_lora` does with everything
    inner.trainable = True
    assert len(model.trainable_variables) == 4
    assert [name.rpartition("/")[2] for name in per_example.variable_layers(model)] == [
        *["adapted"] * 2,
        *["head"] * 2,
    ]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    norms = per_example.squared_norms(model, x, y, "mse", on_unknown="raise", per_layer=True)
    x32 = x.astype("float32")
    hidden = inner(x32).numpy()
    head = model.layers[-1].kernel.numpy()
    error = hidden @ head - y  # biases are zero; d mse / d output with two outputs
    before = error @ head.T
    expected = (before**2).sum(1) * ((x**2).sum(1) + 1)
    found = next(values for name, values in norms.items() if name.endswith("adapted"))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
