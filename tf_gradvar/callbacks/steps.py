"""Steps that a model has taken, for callbacks that act at some of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.optimizers.wrappers import innermost

# How far beyond the end of a run a step that is due is looked for.
_LOOKED_AT = 1_000_000


def steps_taken(model: keras.Model) -> int:
    """The steps that the model's optimizer has taken."""
    # The innermost: up to Keras 3.8, one that scales the loss counts no steps. And not
    # int(iterations): a mirrored variable is no number.
    return int(keras.ops.convert_to_numpy(innermost(model.optimizer).iterations))


class PassedSteps:
    """Tells the steps that have passed since it was asked last."""

    def __init__(self) -> None:
        self._started = self._last = 0

    def start(self, model: keras.Model) -> int:
        """Count on from the optimizer's steps, so that a resumed run acts at the same ones."""
        self._started = self._last = steps_taken(model)
        return self._last

    def advance(self, model: keras.Model) -> range:
        """The steps since the last call: one, or several with `steps_per_execution`."""
        passed = range(self._last + 1, steps_taken(model) + 1)
        self._last = passed.stop - 1
        return passed

    def warn_of_nothing(
        self, who: str, did: str, schedules: Sequence[Callable[[int], Any]]
    ) -> None:
        """Warn at the end of a run in which no step was due.

        Args:
            who: The callback.
            did: What it has not done, such as "measured".
            schedules: Functions step -> whether it is due.
        """
        beyond = range(self._last + 1, self._last + _LOOKED_AT)
        later = next((step for step in beyond if any(due(step) for due in schedules)), None)
        after = "none after them is due" if later is None else f"the next that is due is {later}"
        warnings.warn(
            f"`{who}` has {did} nothing: the run took the steps {self._started + 1} to "
            f"{self._last}, none of which is due, and {after}. Let smaller steps be due, or train "
            "longer.",
            stacklevel=3,
        )


def build_from_data(model: keras.Model, x: Any) -> None:
    """Build a model that would else be built by its first batch; nothing is computed.

    Args:
        model: The model.
        x: Inputs as a callback gets them, arrays or a structure of them, or a dataset.
    """
    if model.built:
        return
    if isinstance(x, tf.data.Dataset):
        inputs = x.element_spec[0]
    else:
        inputs = keras.tree.map_structure(lambda leaf: np.asarray(leaf)[:1], x)
    with model.distribute_strategy.scope():
        model(keras.tree.map_structure(_symbol, inputs))


def _symbol(leaf: Any) -> keras.KerasTensor:
    dtype = tf.as_dtype(leaf.dtype)  # text in NumPy has many dtypes, here it has one
    return keras.KerasTensor((None, *leaf.shape[1:]), dtype.name)
