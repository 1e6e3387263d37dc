"""Layers without a rule: one line that names them, and not a word from TensorFlow."""

import logging

import numpy as np
import pytest
from keras import layers

from tests.problems import Swish, sequential
from tf_gradvar import per_example
from tf_gradvar.per_example.recording import fallback

RNG = np.random.default_rng(0)
Y = np.zeros((3, 2), "float32")


class Doubled(layers.SeparableConv2D):
    """A gradient that TensorFlow cannot vectorise."""

    def call(self, inputs):
        return 2 * super().call(inputs)


class Tripled(layers.Conv2D):
    """A gradient for whose vectorising TensorFlow excuses itself."""

    def call(self, inputs):
        return 3 * super().call(inputs)


def images(*stack):
    model = sequential((5, 4, 2), *stack, layers.Flatten(), layers.Dense(2))
    return model, RNG.normal(size=(3, 5, 4, 2)).astype("float32")


def test_one_line_for_all_layers(caplog):
    shared = [Swish() for _ in range(5)]
    model, x = images(*shared, Tripled(2, 2))
    with caplog.at_level(logging.WARNING):
        per_example.squared_norms(model, x, Y, "mse")
        per_example.squared_norms(model, x, Y, "mse")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"Per-example gradients of 6 layers of model '{model.name}' come")
    assert "5 Swish (" in line
    assert f"'{shared[2].path}', and 2 more), 1 Tripled (" in line
    assert line.count("there is no rule for this layer") == 1


@pytest.mark.parametrize("kind", [Doubled, Tripled])
def test_tensorflow_says_nothing(kind, capfd, caplog):
    model, x = images(kind(2, 2))
    with caplog.at_level(logging.WARNING, "tensorflow"):
        per_example.squared_norms(model, x, Y, "mse")
    assert [record.name for record in caplog.records] == ["tf_gradvar.per_example"]
    assert "tensorflow" not in "".join(capfd.readouterr()).lower()


def test_vectorising_is_tried_once(monkeypatch):
    model, x = images(Doubled(2, 2))
    first = per_example.squared_norms(model, x, Y, "mse")
    monkeypatch.setattr(fallback.tf, "vectorized_map", None)
    np.testing.assert_allclose(per_example.squared_norms(model, x, Y, "mse"), first, rtol=1e-6)
