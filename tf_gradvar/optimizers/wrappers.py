"""Optimizers within optimizers: Keras wraps one for loss scaling, Discover for its step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from tf_gradvar.keras_internals import flatten_layers


class OfInner:
    """An attribute of a class of optimizers that is the inner optimizer's, methods included."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, outer: Any, owner: type | None = None) -> Any:
        return self if outer is None else getattr(outer.inner_optimizer, self._name)

    def __set__(self, outer: Any, value: Any) -> None:
        inner = getattr(outer, "inner_optimizer", None)
        if inner is not None:  # Keras' constructor sets attributes before there is one
            setattr(inner, self._name, value)


class OptimizerAround(keras.optimizers.Optimizer):
    """An optimizer around another one, whose learning rate and settings are that one's.

    Args:
        optimizer: The inner optimizer.
        learning_rate: The value of this one's own variable, which nothing steps by.
        name: The name of the optimizer.
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer, learning_rate: Any, name: str | None
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name)
        self._hold(optimizer)

    def _hold(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.inner_optimizer = optimizer

    learning_rate = OfInner()
    iterations = OfInner()
    weight_decay = OfInner()
    clipnorm = OfInner()
    clipvalue = OfInner()
    global_clipnorm = OfInner()
    use_ema = OfInner()
    ema_momentum = OfInner()
    ema_overwrite_frequency = OfInner()
    loss_scale_factor = OfInner()
    gradient_accumulation_steps = OfInner()
    exclude_from_weight_decay = OfInner()
    scale_loss = OfInner()
    finalize_variable_values = OfInner()

    def add_shared_variable(
        self, shape: Sequence[int], dtype: str, name: str, initializer: Any = "zeros"
    ) -> Any:
        """Create a variable that every replica computes alike."""
        return self.add_variable(
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            name=name,
            aggregation="only_first_replica",
        )


def innermost(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer that takes the step, inside any wrappers.

    Args:
        optimizer: A Keras optimizer.
    """
    *_, last = _with_wrapped(optimizer)
    return last


def find_optimizer(optimizer: keras.optimizers.Optimizer | None, kind: type) -> Any:
    """Return the optimizer of a class among an optimizer and what it wraps, or None.

    Args:
        optimizer: A Keras optimizer, or None.
        kind: The class.
    """
    return next((o for o in _with_wrapped(optimizer) if isinstance(o, kind)), None)


def build_optimizer(model: keras.Model) -> None:
    """Create the variables of a model's optimizer, if the model has all of its own.

    Keras makes them while it traces the first step. If that trace fails, they never get a value,
    and on TensorFlow later calls of the train function fail too, or do nothing.

    Args:
        model: A compiled Keras model.
    """
    if not model.optimizer.built and all(layer.built for layer in flatten_layers(model)):
        model.optimizer.build(model.trainable_variables)


def _with_wrapped(optimizer: Any) -> Iterator[Any]:
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)
