"""Steps that a model has taken, and models that no step has built yet."""

from __future__ import annotations

import contextlib
from typing import Any

import keras

from tf_gradvar.data.arrays import as_arrays, is_tf_dataset
from tf_gradvar.optimizers.wrappers import innermost


def steps_taken(model: keras.Model) -> int:
    """Return the steps that the model's optimizer has taken."""
    # The innermost: up to Keras 3.8, one that scales the loss counts no steps. And not
    # int(iterations): a mirrored variable is no number.
    return int(keras.ops.convert_to_numpy(innermost(model.optimizer).iterations))


def sync_variables(model: keras.Model) -> None:
    """Let the variables of a model in `fit` have their values, which on JAX the loop holds."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def strategy_scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Return the scope in which variables of a model are made."""
    strategy = getattr(model, "distribute_strategy", None)  # on TensorFlow only
    return contextlib.nullcontext() if strategy is None else strategy.scope()


class StepCount:
    """The steps that a model has taken, as a callback can know them between two batches.

    On JAX the loop of `fit` holds the optimizer's counter, and fetching it would wait for the
    device at every step: there, batches are counted.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._batch, self.steps = model, -1, steps_taken(model)

    def begin_epoch(self) -> None:
        """Take the next batch for the first of an epoch."""
        self._batch = -1

    def after(self, batch: int) -> int:
        """Return the steps after a batch of this number in its epoch."""
        if hasattr(self._model, "jax_state_sync"):
            self.steps += batch - self._batch
            self._batch = batch
        else:
            self.steps = steps_taken(self._model)
        return self.steps


def build_from_data(model: keras.Model, x: Any) -> None:
    """Build a model that would else be built by its first batch; nothing is computed.

    Args:
        model: The model.
        x: Inputs as a callback gets them, arrays or a structure of them, or a dataset.
    """
    if model.built:
        return
    if is_tf_dataset(x):
        inputs = x.element_spec[0]
    else:
        inputs = keras.tree.map_structure(lambda leaf: leaf[:1], as_arrays(x, "x"))
    with strategy_scope(model):
        model(keras.tree.map_structure(_symbol, inputs))


def _symbol(leaf: Any) -> keras.KerasTensor:
    text = getattr(leaf.dtype, "kind", "") in tuple("OSU")  # of many dtypes in NumPy
    dtype = "string" if text else keras.backend.standardize_dtype(leaf.dtype)
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype)
