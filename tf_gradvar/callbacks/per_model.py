"""Instruments that a callback keeps for the model that it measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import keras

from tf_gradvar.keras_internals import compiled_loss

_Instrument = TypeVar("_Instrument")


class PerModel(Generic[_Instrument]):
    """What is compiled for a model and its loss, and made anew where either is another one.

    Args:
        make: Function model -> instrument.
        loss: The loss that it is made with; None: what the model was compiled with.
    """

    def __init__(self, make: Callable[[keras.Model], _Instrument], loss: Any):
        self._make, self._loss = make, loss
        self._made: _Instrument | None = None
        self._made_for: tuple[Any, Any] = (None, None)

    def __call__(self, model: keras.Model) -> _Instrument:
        """Return the instrument of this model."""
        given = (model, compiled_loss(model) if self._loss is None else self._loss)
        if self._made is None or given != self._made_for:
            self._made, self._made_for = self._make(model), given
        return self._made
