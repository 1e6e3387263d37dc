"""Implicit gradient transport with tail averaging and heavy-ball momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_gradvar.arguments import check_number
from tf_gradvar.keras_internals import HookedOptimizer, decays_weight, variable_index
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.backend.train_functions import wrap_train_functions
from tf_gradvar.optimizers.replicas import refuse_what_replicas_lack
from tf_gradvar.optimizers.wrappers import find_optimizer


def averaging_weight(step: Any, tail_fraction: float) -> Any:
    """Return gamma_s, the weight of the past in the transported average, at step s.

        c       = 1 / tail_fraction
        gamma_1 = 0
        gamma_s = c (s-1) / (1 + c (s-1)) * (1 - sqrt((1-c) / (s (s-1))) / c)    s = 2, 3, ...

    Args:
        step: s = 1, 2, ..., an integer scalar.
        tail_fraction: The inverse c of the share of the steps that is averaged, at least 1.

    Returns:
        gamma_s, a float32 scalar.

    Source: Arnold et al. 2019, tail averaging as in the authors' implementation.
    """
    c = 1.0 / tail_fraction
    past = ops.maximum(ops.cast(step, "float32") - 1.0, 0.0)
    first = ops.equal(past, 0.0)
    pairs = ops.where(first, 1.0, past * (past + 1.0))
    gamma = c * past / (1.0 + c * past) * (1.0 - ops.sqrt((1.0 - c) / pairs) / c)
    return ops.where(first, 0.0, gamma)


@keras.saving.register_keras_serializable(package="tf_gradvar")
class IGT(HookedOptimizer):
    """Implicit gradient transport: past gradients, carried over to the present weights.

    Gradients are taken at shifted weights, chosen so that their running average u
    approximates the gradient at the present weights:

        u       = gamma_t u + (1 - gamma_t) g(shifted)
        m       = momentum * m + u
        theta'  = theta - learning_rate * m
        shifted = theta' + gamma_{t+1} / (1 - gamma_{t+1}) * (theta' - theta)

    with gamma of `averaging_weight`. Decoupled `weight_decay` is part of the step theta' -
    theta.

    **True and shifted weights.** `apply` leaves the shifted weights in the variables, for
    the next gradient, and keeps the true ones theta in a slot. In `model.fit` and
    `train_on_batch` the weights are shifted at the start and true again at the end of every
    call of the train function, so that validation, callbacks, `evaluate`, `predict`,
    `save`, `export` and `get_weights` all see the true weights, on one device and on
    replicas, with nothing to remember. (Keras calls no code of an optimizer between a step
    and what follows it, so creating the first IGT optimizer of a process wraps
    `keras.Model.make_train_function`; models with other optimizers are not affected. Tested
    on TensorFlow and JAX with every change, and on torch 2.13 by hand.) In a loop of
    your own, call `use_true_weights()` before you read the weights and
    `use_shifted_weights()` before you train on.

    Args:
        learning_rate: A float, a `keras.optimizers.schedules.LearningRateSchedule` or a
            callable of no arguments. Defaults to 0.1.
        momentum: The heavy-ball coefficient, in [0, 1). Defaults to 0.9.
        tail_fraction: The average is over about the last 1 / tail_fraction of the steps;
            at least 1, which averages all. Defaults to 2.
        name: The name of the optimizer. Defaults to "igt".
        **kwargs: Arguments of every Keras optimizer, except `use_ema`.

    Raises:
        ValueError: If an argument breaks its rule; if `use_ema` is set or a variable has a
            constraint, both of which would act on the shifted weights.

    Memory: three copies of the weights.

    Example:
        >>> import keras
        >>> from tf_gradvar.optimizers import IGT
        >>> weight = keras.Variable([1.0])
        >>> optimizer = IGT(learning_rate=0.1, momentum=0.0, tail_fraction=1.0)
        >>> optimizer.apply([keras.ops.ones(1)], [weight])  # gamma_2 = 1/2: shifts by the step
        >>> print(f"{float(weight[0]):.2f}")
        0.80
        >>> optimizer.use_true_weights()
        >>> print(f"{float(weight[0]):.2f}")
        0.90

    Source: Arnold et al. 2019, "Reducing the variance in online optimization by
    transporting past gradients", Algorithm 2 (heavy ball).
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        tail_fraction: float = 2.0,
        name: str = "igt",
        **kwargs: Any,
    ) -> None:
        momentum = check_number("momentum", momentum, 0, 1, high_open=True)
        tail_fraction = check_number(
            "tail_fraction", tail_fraction, 1, float("inf"), high_open=True
        )
        if kwargs.get("use_ema"):
            raise ValueError(
                "`use_ema` would average the shifted weights of IGT, not the true ones. "
                "Received: use_ema=True. Leave it False; IGT averages gradients already."
            )
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.tail_fraction = tail_fraction
        wrap_train_functions(find_igt)

    def build(self, variables: Sequence[Any]) -> None:
        """Create the slots of each variable.

        Args:
            variables: The model's trainable variables.

        Raises:
            ValueError: If a variable has a constraint.
        """
        if self.built:
            return
        refuse_what_replicas_lack(self)
        for variable in variables:
            if variable.constraint is not None:
                raise ValueError(
                    "IGT cannot keep a constraint: Keras would apply it to the shifted "
                    f"weights. Received a variable with one: {variable.path}. Remove the "
                    "constraint or use another optimizer."
                )
        super().build(variables)
        shifted = list(variables)
        # A list as an attribute would make the model's variables the optimizer's own (on JAX).
        self._shifted = lambda: shifted
        slots = ("gradient_average", "momentum", "true_weights")
        made = [[self.add_variable_from_reference(v, name=s) for s in slots] for v in variables]
        self._averages, self._momentums, self._true = map(list, zip(*made, strict=True))
        self._holds_true = self._add_scalar("variables_hold_true_weights", "ones")
        self._last_learning_rate = self._add_scalar("last_learning_rate", "zeros")
        self._run_assign_true = backend.compiled(self._assign_true)
        self._run_assign_shifted = backend.compiled(self._assign_shifted)

    def _add_scalar(self, name: str, initializer: str) -> Any:
        return self.add_variable(
            shape=(),
            dtype="float32",
            initializer=initializer,
            name=name,
            aggregation="only_first_replica",
        )

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Take a step; sparse gradients become dense first, as their average is.

        Args:
            grads: One gradient at the shifted weights for each variable, or None.
            trainable_variables: The variables, if not those that the optimizer was built with.
        """
        super().apply([backend.dense(g) for g in grads], trainable_variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable: its true value in the slot, the shifted one in place.

        Args:
            gradient: The gradient at the shifted weights, [*shape].
            variable: The variable, [*shape].
            learning_rate: The learning rate of the step.
        """
        index = variable_index(self, variable)
        average, momentum, slot = (
            self._averages[index],
            self._momentums[index],
            self._true[index],
        )
        gamma = averaging_weight(self.iterations + 1, self.tail_fraction)
        backend.move_towards(average, 1.0 - gamma, gradient)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        decay = self._decay_of(variable)
        if decay:
            backend.add_scaled(slot, -learning_rate * decay, slot)
        backend.step_with_momentum(slot, momentum, self.momentum, average, learning_rate)
        true = ops.convert_to_tensor(slot)
        shift = self._shift(true, momentum, learning_rate, decay, self.iterations + 2)
        self.assign(variable, true + shift)

    def _true_value(self, variable: Any, slot: Any) -> Any:
        """Return the true weights: what the variable holds, or the slot while it is shifted."""
        held, kept = ops.convert_to_tensor(variable), ops.convert_to_tensor(slot)
        return ops.where(self._holds_true > 0, held, kept)

    def _shift(self, true: Any, momentum: Any, learning_rate: Any, decay: float, step: Any) -> Any:
        """Return gamma_s / (1 - gamma_s) (theta' - theta), written with theta' only."""
        gamma = averaging_weight(step, self.tail_fraction)
        scale = ops.cast(gamma / (1.0 - gamma), true.dtype) * -learning_rate
        descent = momentum + decay * true if decay else ops.convert_to_tensor(momentum)
        return scale / (1.0 - learning_rate * decay) * descent

    def _decay_of(self, variable: Any) -> float:
        return self.weight_decay if self.weight_decay and decays_weight(self, variable) else 0.0

    decays_in_update_step = True  # it decays the true weights, not the shifted ones

    def before_updates(self) -> None:
        """Let the slots hold the true weights, also of variables without a gradient."""
        holds_true = ops.convert_to_tensor(self._holds_true) > 0
        backend.copy_if(holds_true, self._shifted(), self._true)

    def after_updates(self, learning_rate: Any) -> None:
        """Remember the step by which the weights are shifted.

        Args:
            learning_rate: The learning rate of the step.
        """
        self._last_learning_rate.assign(ops.cast(learning_rate, "float32"))
        self._holds_true.assign(ops.zeros(()))

    def use_true_weights(self) -> None:
        """Put the true weights into the model's variables; nothing to do if they are there.

        Call it from outside `strategy.run`. Cost: one copy of the weights.
        """
        if self.built:
            self._run_assign_true()

    def use_shifted_weights(self) -> None:
        """Put the shifted weights into the variables, where the next gradient belongs.

        Whatever the variables hold counts as the true weights, so weights that were set or
        loaded meanwhile are trained on. Nothing to do if they are shifted already. Call it
        from outside `strategy.run`. Cost: two sweeps over the weights.
        """
        if self.built:
            self._run_assign_shifted()

    before_training = use_shifted_weights
    after_training = use_true_weights

    def _assign_true(self) -> None:
        for variable, slot in zip(self._shifted(), self._true, strict=True):
            variable.assign(self._true_value(variable, slot))
        self._holds_true.assign(ops.ones(()))

    def _assign_shifted(self) -> None:
        for index, variable in enumerate(self._shifted()):
            slot = self._true[index]
            true = self._true_value(variable, slot)
            learning_rate = ops.cast(self._last_learning_rate, variable.dtype)
            decay = self._decay_of(variable)
            momentum = ops.convert_to_tensor(self._momentums[index])
            shift = self._shift(true, momentum, learning_rate, decay, self.iterations + 1)
            if decay:  # of variables with a gradient only: without one they never move
                shift = ops.where(ops.any(momentum != 0), shift, ops.zeros_like(shift))
            slot.assign(true)
            variable.assign(true + shift)
        self._holds_true.assign(ops.zeros(()))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Leave the true weights in the variables; Keras calls it at the end of `fit`.

        Args:
            var_list: The model's trainable variables.
        """
        super().finalize_variable_values(var_list)
        self.use_true_weights()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the optimizer, JSON-plain."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "tail_fraction": self.tail_fraction,
        }


def find_igt(model: keras.Model) -> IGT | None:
    """Return the IGT optimizer that trains a model, inside any wrappers, or None.

    Args:
        model: A compiled Keras model.
    """
    return find_optimizer(getattr(model, "optimizer", None), IGT)
