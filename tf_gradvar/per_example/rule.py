"""What a rule is: how the gradient forms of one class of layers come from one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms import GradientForm

Variable: TypeAlias = keras.Variable
# (layer, inputs, output_gradients) -> the gradient form of each variable of that layer.
RuleFunction = Callable[
    [keras.layers.Layer, tf.Tensor, tf.Tensor], list[tuple[Variable, GradientForm]]
]


@dataclass(frozen=True)
class Rule:
    """How to measure one class of layers.

    Attributes:
        function: The rule.
        supports: Whether the rule holds for this layer (its options, its equation).
        before_activation: The output gradients are those before `layer.activation`.
    """

    function: RuleFunction
    supports: Callable[[keras.layers.Layer], bool] = lambda layer: True
    before_activation: bool = False
