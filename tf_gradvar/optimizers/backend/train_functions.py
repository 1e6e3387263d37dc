"""Code of an optimizer around the functions that `fit` and `train_on_batch` run, on any backend.

Keras calls no code of an optimizer between the last step and whatever reads the weights next
(validation, a checkpoint, `get_weights`). So this wraps the one method that builds the function
which `fit` and `train_on_batch` run. TensorFlow and torch keep their variables and change them in
place; JAX hands the values of all variables in and out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras

from tf_gradvar.optimizers.wrappers import build_optimizer


def wrap_train_functions(find_optimizer: Callable[[keras.Model], Any]) -> None:
    """Let `find_optimizer(model)` name an optimizer to prepare around every train function.

    Models whose optimizer is not found pass through unchanged.

    Args:
        find_optimizer: A function of a model that returns an object with the methods
            `before_training()` and `after_training()`, which assign variables of the model and
            of its optimizer, or None.
    """
    original = keras.Model.make_train_function
    if hasattr(original, "find_optimizer"):
        return
    wrap = _with_state if keras.backend.backend() == "jax" else _in_place

    @functools.wraps(original)
    def make_train_function(self: keras.Model, force: bool = False) -> Any:
        built = self.train_function
        result = original(self, force=force)
        optimizer = find_optimizer(self)
        if optimizer is None or self.train_function is built:
            return result
        build_optimizer(self)
        self.train_function = wrap(self.train_function, self, optimizer)
        return result

    make_train_function.find_optimizer = find_optimizer  # type: ignore[attr-defined]
    keras.Model.make_train_function = make_train_function


def _in_place(train: Any, model: keras.Model, optimizer: Any) -> Callable[..., Any]:
    """Return a train function for backends that keep their variables."""
    del model

    def train_function(iterator: Any) -> Any:
        optimizer.before_training()
        try:
            return train(iterator)
        finally:
            optimizer.after_training()

    return train_function


def _with_state(train: Any, model: keras.Model, optimizer: Any) -> Callable[..., Any]:
    """Return a train function for JAX: (state, iterator) -> (logs, state).

    The state starts and ends with the values that `after_training` leaves, wherever Keras puts
    it in between: validation, callbacks and the model itself get no others.
    """
    before = _stateless(model, optimizer.before_training)
    after = _stateless(model, optimizer.after_training)

    def train_function(state: Any, iterator: Any) -> Any:
        logs, state = train(before(state), iterator)
        return logs, after(state)

    return train_function


def _stateless(model: keras.Model, action: Callable[[], None]) -> Callable[[Any], Any]:
    """Return a compiled function of Keras' state on JAX that does what an action assigns.

    The state is (trainable, non-trainable, optimizer, metrics), a list of values each.
    """
    import jax

    @jax.jit
    def changed(trainable: Any, of_optimizer: Any) -> Any:
        variables = [*model.trainable_variables, *model.optimizer.variables]
        pairs = list(zip(variables, [*trainable, *of_optimizer], strict=True))
        with keras.StatelessScope(state_mapping=pairs) as scope:
            action()
        values = [scope.get_current_value(variable) for variable in variables]
        return values[: len(trainable)], values[len(trainable) :]

    def function(state: Any) -> Any:
        trainable, non_trainable, of_optimizer, metrics = state
        trainable, of_optimizer = changed(trainable, of_optimizer)
        return trainable, non_trainable, of_optimizer, metrics

    return function
