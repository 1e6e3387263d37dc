"""The control variate and its inner optimizer as one optimizer: one state, one configuration."""

from __future__ import annotations

import types
from typing import Any

import keras

from tf_gradvar.keras_internals import own_variables, share_state, track_variables
from tf_gradvar.optimizers.control_variate import ClusterControlVariate
from tf_gradvar.optimizers.settings import Settings


class AsOne(ClusterControlVariate):
    """A control variate whose inner optimizer is its own affair.

    Nobody else holds the inner optimizer, so its arguments stand beside those of the control
    variate, and its variables before the buffers in saved files and checkpoints.

    Args:
        optimizer: The inner optimizer, made for this one, of the same name.
        learning_rate: That of the inner optimizer.
        settings: Those of the control variate.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        learning_rate: Any,
        settings: Settings,
    ) -> None:
        super().__init__(optimizer, settings, learning_rate=learning_rate, name=optimizer.name)
        share_state(self, optimizer)

    @property
    def inner_optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer that takes the steps."""
        return self._hidden.optimizer

    def _hold(self, optimizer: keras.optimizers.Optimizer) -> None:
        # As a plain attribute it would be an object of its own in checkpoints.
        self._hidden = types.SimpleNamespace(optimizer=optimizer)

    @property
    def learning_rate(self) -> Any:
        """The learning rate at the present step; set it to a number, a schedule or a callable."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)
        share_state(self, self.inner_optimizer)

    @property
    def variables(self) -> list[Any]:
        """All variables: the inner optimizer's, the buffers, the cluster probabilities."""
        return own_variables(self)

    def _build_inner(self, variables: list[Any]) -> None:
        start = len(self.inner_optimizer.variables)
        super()._build_inner(variables)
        track_variables(self, self.inner_optimizer.variables[start:])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the optimizer, JSON-plain."""
        return {**self.inner_optimizer.get_config(), **super().get_config()}
