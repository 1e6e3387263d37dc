"""What a rule is: how the gradient forms of one class of layers come from one call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms import GradientForm

Variable: TypeAlias = keras.Variable
Forms: TypeAlias = list[tuple[Variable, GradientForm]]
# (layer, inputs, output_gradients) -> the gradient form of each variable of that layer; with
# `whole_call` the function takes a `Call` after these.
RuleFunction = Callable[..., Forms]


@dataclass(frozen=True)
class Call:
    """One call of a layer, for rules to which the first argument does not say enough.

    Attributes:
        arguments: The arguments by name, defaults included.
        outputs: What `call` returned, before the activation for `before_activation`.
        output_gradients: The gradient, or None, of each of the flattened outputs.
    """

    arguments: dict[str, Any]
    outputs: Any
    output_gradients: Sequence[tf.Tensor | None]


@dataclass(frozen=True)
class Rule:
    """How to measure one class of layers.

    Attributes:
        function: The rule.
        supports: Whether the rule holds for this layer (its options, its equation).
        before_activation: The output gradients are those before `layer.activation`.
        whole_call: The function takes a `Call` as its fourth argument.
    """

    function: RuleFunction
    supports: Callable[[keras.layers.Layer], bool] = lambda layer: True
    before_activation: bool = False
    whole_call: bool = False

    def forms(
        self,
        layer: keras.layers.Layer,
        inputs: tf.Tensor,
        output_gradients: Sequence[tf.Tensor | None],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        outputs: Any,
    ) -> Forms:
        """Apply the rule to one call of a layer, given its positional and named arguments."""
        if not self.whole_call:
            return self.function(layer, inputs, output_gradients[0])
        args, kwargs = arguments
        bound = inspect.signature(type(layer).call).bind(layer, *args, **kwargs)
        bound.apply_defaults()
        _, *named = bound.arguments.items()  # without the layer itself
        call = Call(dict(named), outputs, output_gradients)
        return self.function(layer, inputs, output_gradients[0], call)
