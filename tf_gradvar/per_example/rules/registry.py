"""One dictionary from layer class to rule; reading it tells what is measured without the fallback.

A rule turns what one call of a layer has seen into the forms of its variables' gradients. Those of
this package stand in the other files of this folder, each under the decorator that registers it;
users add theirs with `register_rule`. A layer without a rule is measured by the exact and slower
fallback.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import keras
import tensorflow as tf

Variable: TypeAlias = keras.Variable
# (layer, inputs, output_gradients) -> a list of pairs (variable, its `GradientForm`); with
# `whole_call` the function takes a `Call` after these.
RuleFunction: TypeAlias = Callable[..., list[tuple[Variable, Any]]]
Supports: TypeAlias = Callable[[keras.layers.Layer], bool]
_Function = TypeVar("_Function", bound=RuleFunction)


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
    supports: Supports = lambda layer: True
    before_activation: bool = False
    whole_call: bool = False

    def forms(
        self,
        layer: keras.layers.Layer,
        inputs: tf.Tensor,
        output_gradients: Sequence[tf.Tensor | None],
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        outputs: Any,
    ) -> list[tuple[Variable, Any]]:
        """Apply the rule to one call of a layer, given its positional and named arguments."""
        if not self.whole_call:
            return self.function(layer, inputs, output_gradients[0])
        args, kwargs = arguments
        bound = inspect.signature(type(layer).call).bind(layer, *args, **kwargs)
        bound.apply_defaults()
        _, *named = bound.arguments.items()  # without the layer itself
        call = Call(dict(named), outputs, output_gradients)
        return self.function(layer, inputs, output_gradients[0], call)


@dataclass(frozen=True)
class Unit:
    """A layer that is measured.

    Attributes:
        name: The layer's path, unique in the model.
        layer: The layer.
        rule: Its rule, or None for the fallback.
        variables: Trainable variables that it accounts for.
        indices: Their places in `model.trainable_variables`.
    """

    name: str
    layer: keras.layers.Layer
    rule: Rule | None
    variables: tuple[Variable, ...]
    indices: tuple[int, ...]


RULES: dict[type[keras.layers.Layer], Rule] = {}
# Layers of packages that need not be installed, and those that Keras does not export, by
# (package, class name). Their `call` has been read.
NAMED_RULES: dict[tuple[str, str], Rule] = {}


def rule_for(
    *layers: type[keras.layers.Layer] | str,
    supports: Supports = lambda layer: True,
    before_activation: bool = False,
    whole_call: bool = False,
) -> Callable[[_Function], _Function]:
    """Register the decorated rule.

    Args:
        *layers: Layer classes, or "package.ClassName" for those that an installation may lack.
        supports: As for `register_rule`.
        before_activation: As for `register_rule`.
        whole_call: As for `register_rule`.

    Returns:
        A decorator that returns the function itself.
    """

    def register(function: _Function) -> _Function:
        rule = Rule(function, supports, before_activation, whole_call)
        for layer in layers:
            if isinstance(layer, str):
                package, _, name = layer.partition(".")
                exported = getattr(keras.layers, name, None) if package == "keras" else None
                if exported is None:
                    NAMED_RULES[package, name] = rule
                    continue
                layer = exported
            RULES[layer] = rule
        return function

    return register


def register_rule(
    layer_class: type[keras.layers.Layer],
    rule: RuleFunction,
    *,
    supports: Supports | None = None,
    before_activation: bool = False,
    whole_call: bool = False,
) -> None:
    """Teach `tf_gradvar.per_example` a layer class.

    The rule is called once for every call of a layer; contributions of several calls are added.
    It must return the gradient of every trainable variable of the layer.

    Args:
        layer_class: Subclass of `keras.layers.Layer`. Subclasses of it use the same rule as long
            as they do not override `call`.
        rule: `rule(layer, inputs, output_gradients)` -> list of `(variable, form)`, where
            `inputs` `[B, ...]` is the first argument of the call, `output_gradients` `[B, ...]`
            the gradient of the summed loss with respect to its output (float32 or float64), and
            a form an `Explicit`, `Outer` or `Lookup`, or a `GradientForm` of your own.
        supports: Function layer -> whether the rule holds for it; layers for which it does not
            use the fallback. Defaults to None: always.
        before_activation: True if the gradient is wanted with respect to the argument of
            `layer.activation`, and `call` ends with that activation. Defaults to False.
        whole_call: True if the rule takes a fourth argument: an object with `arguments`, the
            dictionary of all arguments of the call with their defaults, and `outputs`, what the
            call has returned (before the activation with `before_activation`). Defaults to False.

    Raises:
        TypeError: If `layer_class` is not a layer class or `rule` cannot be called.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")
        ...     def call(self, x):
        ...         return x * self.factor
        >>> def scale_rule(layer, inputs, output_gradients):
        ...     return [(layer.factor, per_example.Explicit(inputs * output_gradients))]
        >>> per_example.register_rule(Scale, scale_rule)
        >>> model = keras.Sequential([keras.Input((3,)), Scale()])
        >>> x, y = np.float32([[1, 0, 2]]), np.float32([[0, 0, 0]])
        >>> per_example.squared_norms(model, x, y, lambda y, p: keras.ops.sum(p, -1)).numpy()
        array([5.], dtype=float32)

    Cost: that of the rule, in place of the fallback, which differentiates the layer for each
    example by itself.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise TypeError(
            "`layer_class` must be a subclass of keras.layers.Layer, "
            f"received {layer_class!r}; pass the class, not a layer."
        )
    if not callable(rule):
        raise TypeError(
            f"`rule` must be a function (layer, inputs, output_gradients), received {rule!r}."
        )
    RULES[layer_class] = Rule(rule, supports or (lambda layer: True), before_activation, whole_call)


def find_rule(layer: keras.layers.Layer) -> Rule | None:
    """The rule of the nearest base class that runs the same `call`, if it supports `layer`."""
    if "call" in layer.__dict__:  # somebody else has replaced `call` on this layer
        return None
    for base in type(layer).__mro__:
        rule = RULES.get(base) or NAMED_RULES.get(_name(base))
        if rule is not None:
            same_call = type(layer).call is base.call  # type: ignore[attr-defined]
            return rule if same_call and rule.supports(layer) else None
    return None


def _name(layer_class: type) -> tuple[str, str]:
    return layer_class.__module__.partition(".")[0], layer_class.__name__
