"""Whether estimators, a model and its labels can be measured, checked before it starts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.keras_internals import flatten_layers, is_seed


def check_estimators(estimators: Any) -> list[Estimator]:
    """Return a list of estimators with different names, or raise."""
    given = [estimators] if isinstance(estimators, Estimator) else list(estimators)
    if not given or not all(isinstance(estimator, Estimator) for estimator in given):
        raise ValueError(
            "`estimators` must be a list of at least one estimator, such as `MiniBatch(128)`. "
            f"Received: estimators={estimators!r}."
        )
    twice = [name for name, times in Counter(e.name for e in given).items() if times > 1]
    if twice:
        raise ValueError(
            "`estimators` must have different names, the keys of the results: give them names of "
            f"their own with `name=...`. Received: {twice} more than once."
        )
    return given


def refuse_training_mode(model: keras.Model, method: str) -> None:
    """Raise if the model does something else in training mode."""
    layers = flatten_layers(model)
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        raise ValueError(
            f"`training=True` and method={method!r} exclude each other for a model with batch "
            "normalization: its batch statistics make the examples interact, so that the gradient "
            "of a single example is undefined. Use method='monte_carlo', or training=False."
        )
    if any(is_seed(variable) for variable in model.non_trainable_variables):
        raise ValueError(
            f"`training=True` and method={method!r} exclude each other for a model with random "
            "layers: the noise of dropout is part of the variance, and one pass sees one mask. "
            "Use method='monte_carlo', or training=False."
        )


def check_labels(model: keras.Model, x: Any, y: Any, loss: Any) -> None:
    """Raise if labels would be broadcast against the outputs by one of Keras' losses.

    Losses of the user's own may take labels of any shape; some of Keras' take the number of a
    class where the outputs have one value for each class.
    """
    if isinstance(x, tf.data.Dataset):
        y = x.element_spec[1]
    output = getattr(model, "output_shape", None)
    name = loss if isinstance(loss, str) else type(loss).__name__
    builtin = isinstance(loss, str) or type(loss).__module__.startswith("keras.")
    label = getattr(y, "shape", None)
    if not builtin or label is None or not isinstance(output, tuple) or "sparse" in name.lower():
        return
    if len(label) != len(output) or not isinstance(output[-1], int):
        return
    if label[-1] == 1 and "int" in str(y.dtype):
        return  # numbers of classes
    if any(None not in (a, b) and a != b for a, b in zip(label[1:], output[1:], strict=True)):
        raise ValueError(
            f"`y` must have the shape of the model's outputs, {output}, for the loss {name!r}: "
            f"reshape the labels. Received: shape={tuple(label)}."
        )
