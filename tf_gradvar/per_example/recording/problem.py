"""The question that is asked of a batch: which model, loss and layers, in which mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import call_model
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.recording.batches import Batch, State
from tf_gradvar.per_example.rules.registry import Unit


@dataclass(frozen=True)
class Problem:
    """What is differentiated: a model, its units, a loss, and how to run it.

    Attributes:
        model: A built model.
        units: Its measured layers.
        loss: The loss.
        training: Whether layers run in training mode.
        on_unknown: "fallback" or "raise".
        hidden: Names of units whose recorded calls do not tell the examples apart.
    """

    model: keras.Model
    units: Sequence[Unit]
    loss: ModelLoss
    training: bool = False
    on_unknown: str = "fallback"
    hidden: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.on_unknown not in ("fallback", "raise"):
            raise ValueError(
                f"`on_unknown` must be 'fallback' or 'raise', received {self.on_unknown!r}."
            )

    def losses(self, batch: Batch, outputs: Any, added: Sequence[tf.Tensor]) -> tf.Tensor:
        """Losses `[B]` of the outputs of the model, and of what layers added to them."""
        return self.loss.of_examples(batch.x, batch.y, outputs, batch.sample_weight, added)

    def reached(
        self, variables: Sequence[keras.Variable], batch: Batch, state: State
    ) -> list[keras.Variable]:
        """Which of the variables the loss depends on, from a pass of its own.

        They keep their own values here, because some code (`tf.recompute_grad`) propagates
        gradients to variables, not to the tensors that stand for them in a `StatelessScope`.
        """
        asked = {id(variable) for variable in variables}
        others = [(variable, value) for variable, value in state if id(variable) not in asked]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            own = [variable.value for variable in variables]
            tape.watch(own)
            with keras.StatelessScope(others, collect_losses=True) as scope:
                outputs = call_model(self.model, batch.x, self.training)
                losses = self.losses(batch, outputs, scope.losses)
                total = self.loss.total(losses, scope.losses)
        gradients = tape.gradient(total, own)
        return [v for v, gradient in zip(variables, gradients, strict=True) if gradient is not None]

    def refuse_unknown(self, slow: Sequence[tuple[Unit, str]]) -> None:
        """Raise for units that need the fallback, if that is what the user wants."""
        if self.on_unknown == "raise" and slow:
            unit, reason = slow[0]
            raise ValueError(
                "`on_unknown` is 'raise', and the per-example gradients of layer "
                f"'{unit.name}' ({type(unit.layer).__name__}) need the fallback: {reason}. "
                "Register a rule with `register_rule`, or use on_unknown='fallback'."
            )

    def refuse_unknown_share(self, added: Sequence[tf.Tensor]) -> None:
        """Layers that are called again must add to the loss what they added in the model."""
        again = [unit.name for unit in self.units if unit.rule is None]
        if self.loss.computes_itself and added and again:
            raise ValueError(
                f"`loss` must be given where layers add losses and {again} have no rule: what "
                f"{self.loss.name} makes of the added losses is not known. Pass a `loss`, or "
                "register rules for these layers."
            )
