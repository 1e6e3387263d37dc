"""What a rule is: how the gradient forms of one class of layers come from one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms import GradientForm

Variable: TypeAlias = keras.Variable
# (layer, inputs, output_gradients) -> the gradient form of each variable of that layer.
RuleFunction = Callable[
    [keras.layers.Layer, tf.Tensor, tf.Tensor], list[tuple[Variable, GradientForm]]
]
# Positional and keyword arguments of a call.
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
# The same from all arguments of the call, and the gradients (or None) of all its outputs.
CallRuleFunction = Callable[
    [keras.layers.Layer, Arguments, Sequence[tf.Tensor | None]],
    list[tuple[Variable, GradientForm]],
]


@dataclass(frozen=True)
class Rule:
    """How to measure one class of layers.

    Attributes:
        function: The rule.
        supports: Whether the rule holds for this layer (its options, its equation).
        before_activation: The output gradients are those before `layer.activation`.
        sees_call: The rule is a `CallRuleFunction`.
    """

    function: RuleFunction | CallRuleFunction
    supports: Callable[[keras.layers.Layer], bool] = lambda layer: True
    before_activation: bool = False
    sees_call: bool = False
