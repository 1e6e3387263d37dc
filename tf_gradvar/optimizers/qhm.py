"""Quasi-hyperbolic momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_gradvar.arguments import check_number
from tf_gradvar.keras_internals import variable_index
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.replicas import refuse_what_replicas_lack


@keras.saving.register_keras_serializable(package="tf_gradvar")
class QHM(keras.optimizers.Optimizer):
    """Quasi-hyperbolic momentum: an average of the gradient and of its moving average.

        m     = momentum * m + (1 - momentum) * g
        theta = theta - learning_rate * ((1 - nu) * g + nu * m)

    `nu = 0` is plain SGD; `nu = 1` is momentum in its moving-average form, which is
    `keras.optimizers.SGD(momentum=momentum)` at the learning rate
    `learning_rate * (1 - momentum)`.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable of no arguments. Defaults to 0.1.
        momentum: The decay of the moving average, in [0, 1). Defaults to 0.999.
        nu: The share of the moving average in the step, in [0, 1]. Defaults to 0.7.
        name: The name of the optimizer. Defaults to "qhm".
        **kwargs: Arguments of every Keras optimizer (`weight_decay`, `clipnorm`, ...).

    Raises:
        ValueError: If `momentum` or `nu` lies outside its interval.

    Memory: one copy of the weights.

    Example:
        >>> import keras
        >>> from tf_gradvar.optimizers import QHM
        >>> weight = keras.Variable([1.0])
        >>> optimizer = QHM(learning_rate=0.1, momentum=0.9, nu=0.7)
        >>> optimizer.apply([keras.ops.ones(1)], [weight])
        >>> print(f"{float(weight[0]):.4f}")  # 1 - 0.1 (0.3 * 1 + 0.7 * 0.1)
        0.9630

    Source: Ma and Yarats 2018, "Quasi-hyperbolic momentum and Adam for deep learning",
    Algorithm 1 (the defaults are its recommendation).
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.999,
        nu: float = 0.7,
        name: str = "qhm",
        **kwargs: Any,
    ) -> None:
        momentum = check_number("momentum", momentum, 0, 1, high_open=True)
        nu = check_number("nu", nu, 0, 1)
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.nu = nu

    def build(self, variables: Sequence[Any]) -> None:
        """Create one moving average for each variable.

        Args:
            variables: The model's trainable variables.
        """
        if self.built:
            return
        refuse_what_replicas_lack(self)
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(v, name="momentum") for v in variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Take a step; sparse gradients become dense first, as the moving average is.

        Args:
            grads: One gradient for each variable, or None.
            trainable_variables: The variables, if not those that the optimizer was built with.
        """
        super().apply([backend.dense(g) for g in grads], trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its moving average.

        Args:
            gradient: The gradient, [*shape].
            variable: The variable, [*shape].
            learning_rate: The learning rate of the step.
        """
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        moving = self._momentums[variable_index(self, variable)]
        share = (1.0 - self.momentum) * gradient
        backend.step_with_momentum(variable, moving, self.momentum, share, learning_rate * self.nu)
        backend.add_scaled(variable, -learning_rate * (1.0 - self.nu), gradient)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the optimizer, JSON-plain."""
        return {**super().get_config(), "momentum": self.momentum, "nu": self.nu}
