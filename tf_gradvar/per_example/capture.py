"""One forward and backward pass that records layer inputs A and output gradients D.

How layers are intercepted, and why so. While the forward pass runs, each measured layer carries a
`call` of its own in its instance dictionary, which shadows that of its class: every way of using a
layer in Keras (Functional, Sequential, subclassed, nested, shared) ends in `layer.call`, so one
mechanism serves them all, and nothing needs the private graph of Functional models. The shadow is
removed when the pass ends, exceptions included; the class and the layer's variables are never
touched. Another thread that uses the model meanwhile passes through to the real `call`.

Layers end with an activation, but rules need the gradient before it. The recorded call therefore
runs the real `call` on a twin of the layer, an object with the same attributes and the same
variables whose activation is the identity, watches its result, and then applies the activation.

The pass runs inside a `StatelessScope`: variables keep their values (batch-norm statistics, seeds
of dropout), and the same scope evaluates the model at other weights. The scope also sees who
reads a variable. A variable that is read outside of its own layer (tied weights), by a layer that
was called on something without a batch axis, or inside a graph of its own (a loop, a
rematerialised block) is reported as `hidden`, and its gradients come from the fallback.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import (
    added_losses,
    get_mask,
    remat_mode,
    set_mask,
    set_remat_mode,
    training_argument,
)
from tf_gradvar.per_example.units import Unit, all_layers

# Shadows of two passes over the same layers must not be removed in the wrong order.
_LOCK = threading.RLock()


@dataclass
class Use:
    """One call of a unit's layer.

    Attributes:
        arguments: Positional and keyword arguments of the call.
        outputs: What is watched: the result, before the activation where there is a rule.
        inputs: The first argument.
    """

    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    outputs: Any
    inputs: Any


@dataclass
class Recording:
    """What a forward pass has shown.

    Attributes:
        uses: The calls of each unit, by its place in the list of units.
        hidden: Units whose calls do not show all gradients -> the reason.
        added: What layers added to the loss.
    """

    uses: dict[int, list[Use]] = field(default_factory=dict)
    hidden: dict[int, str] = field(default_factory=dict)
    added: list[tf.Tensor] = field(default_factory=list)


class ReadingScope(keras.StatelessScope):
    """A `StatelessScope` that tells who reads a measured variable."""

    def __init__(
        self,
        state: Sequence[tuple[keras.Variable, Any]],
        owners: dict[int, int],
        recording: Recording,
    ) -> None:
        """Hold values and watch their readers.

        Args:
            state: Pairs of a variable and its value in this scope.
            owners: Id of a measured variable -> place of its unit.
            recording: Where foreign reads are noted.
        """
        super().__init__(state_mapping=state, collect_losses=True)
        self.running: list[int] = []
        self._owners = owners
        self._recording = recording

    def get_current_value(self, variable: keras.Variable) -> Any:
        """The value of a variable in this scope, or None for its own."""
        owner = self._owners.get(id(variable))
        if owner is not None and (not self.running or self.running[-1] != owner):
            self._recording.hidden[owner] = "its variables are used outside of the layer"
        return super().get_current_value(variable)


def run_model(
    model: keras.Model,
    x: Any,
    units: Sequence[Unit],
    *,
    state: Sequence[tuple[keras.Variable, Any]],
    training: bool,
    tape: tf.GradientTape | None,
) -> tuple[Any, Recording]:
    """Run the model forward and record the calls of the units.

    Args:
        model: A built model.
        x: Its inputs.
        units: What to record.
        state: Values to use instead of those of the variables.
        training: Whether layers run in training mode.
        tape: Watches the recorded outputs; None to learn shapes only.

    Returns:
        The outputs of the model and the recording.

    Raises:
        ValueError: If batch normalisation runs in training mode.
    """
    recording = Recording({place: [] for place in range(len(units))})
    owners = {id(v): place for place, unit in enumerate(units) for v in unit.variables}
    scope = ReadingScope(state, owners, recording)
    with ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(kept_as_it_is(model))
        stack.enter_context(scope)
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                stack.enter_context(_shadowed_call(layer, _refuse_batch_statistics(layer)))
        for place, unit in enumerate(units):
            call = _recorded_call(unit, place, scope, recording, tape)
            stack.enter_context(_shadowed_call(unit.layer, call))
        outputs = call_model(model, x, training)
    recording.added = scope.losses
    return outputs, recording


def trace_layers(
    model: keras.Model, x: Any, state: Sequence[tuple[keras.Variable, Any]]
) -> list[tuple[keras.layers.Layer, Any, Any]]:
    """Run the model in inference mode and tell (layer, inputs, outputs) in order of completion."""
    seen: list[tuple[keras.layers.Layer, Any, Any]] = []

    def traced(layer: keras.layers.Layer) -> Callable[..., Any]:
        def call(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            outputs = real(*args, **kwargs)
            seen.append((layer, (args, kwargs), outputs))
            return outputs

        return call

    with ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(kept_as_it_is(model))
        stack.enter_context(keras.StatelessScope(state))
        for layer in all_layers(model):
            stack.enter_context(_shadowed_call(layer, traced(layer)))
        call_model(model, x, training=False)
    return seen


def call_model(model: keras.Model, x: Any, training: bool) -> Any:
    """`model(x, training=training)` for models that take `training`, else `model(x)`."""
    return model(x, **training_argument(model, training))


@contextmanager
def _shadowed_call(layer: keras.layers.Layer, wrap: Callable[..., Any]) -> Iterator[None]:
    """Give the layer another `call` for a while: `wrap(real, *args, **kwargs)`."""
    real = layer.call
    shadowed = layer.__dict__.get("call")
    thread = threading.get_ident()

    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return real(*args, **kwargs)
        return wrap(real, *args, **kwargs)

    layer.__dict__["call"] = call
    try:
        yield
    finally:
        if shadowed is None:
            del layer.__dict__["call"]
        else:
            layer.__dict__["call"] = shadowed


def _recorded_call(
    unit: Unit, place: int, scope: ReadingScope, recording: Recording, tape: tf.GradientTape | None
) -> Callable[..., Any]:
    graph = _current_graph()

    def call(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        scope.running.append(place)
        try:
            if unit.rule is not None and unit.rule.before_activation:
                outputs = _without_activation(unit.layer, *args, **kwargs)
                watched = outputs
            else:
                outputs = watched = keras.tree.map_structure(_copy, real(*args, **kwargs))
        finally:
            scope.running.pop()
        if _current_graph() is not graph:
            recording.hidden[place] = "it runs inside a graph of its own"
        else:
            if tape is not None:
                tape.watch([t for t in keras.tree.flatten(watched) if is_float(t)])
            inputs = args[0] if args else next(iter(kwargs.values()), None)
            recording.uses[place].append(Use((args, kwargs), watched, inputs))
        if unit.rule is not None and unit.rule.before_activation:
            activation = unit.layer.activation
            return outputs if activation is None else activation(outputs)
        return outputs

    return call


def _without_activation(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
    """The layer's result before its activation, from a twin that shares every attribute."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__)
    del twin.__dict__["call"]
    twin.__dict__["activation"] = keras.activations.linear
    return twin.call(*args, **kwargs)


@contextmanager
def kept_as_it_is(model: keras.Model) -> Iterator[None]:
    """Undo what any call of a Keras model does, and what stands in the way of watching.

    A call forgets the losses that the call before has added. Rematerialised layers run where
    nothing can be watched, and a bidirectional layer on a GPU reads the weights of its two layers
    instead of calling them: they run plainly for the time being, which gives the same numbers.
    """
    layers = all_layers(model)
    fused = [
        part
        for layer in layers
        if isinstance(layer, keras.layers.Bidirectional)
        for part in (layer.forward_layer, layer.backward_layer)
        if "use_cudnn" in part.__dict__
    ]
    choices = [part.use_cudnn for part in fused]
    losses = [(added_losses(layer), list(added_losses(layer))) for layer in layers]
    modes = [(layer, remat_mode(layer)) for layer in layers if remat_mode(layer) is not None]
    for layer, _ in modes:
        set_remat_mode(layer, None)
    for part in fused:
        part.use_cudnn = False
    try:
        yield
    finally:
        for part, choice in zip(fused, choices, strict=True):
            part.use_cudnn = choice
        for current, old in losses:
            current[:] = old
        for layer, mode in modes:
            set_remat_mode(layer, mode)


def _refuse_batch_statistics(layer: keras.layers.Layer) -> Callable[..., Any]:
    def call(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(type(layer).call).bind(layer, *args, **kwargs).arguments
        if bound.get("training") and layer.trainable:
            raise ValueError(
                "`training` must be False for a model with batch normalisation: the layer "
                f"'{layer.path or layer.name}' was called with training={bound['training']}. "
                "Per-example gradients are undefined there, because the batch statistics make "
                "the examples interact; use training=False, or measure the variance with "
                "method='monte_carlo'."
            )
        return real(*args, **kwargs)

    return call


def is_float(value: Any) -> bool:
    """Whether a value is a floating-point tensor."""
    return tf.is_tensor(value) and value.dtype.is_floating


def _copy(value: Any) -> Any:
    """A tensor of its own, which nothing but the layer's result leads to."""
    if not tf.is_tensor(value):
        return value
    copy = tf.identity(value)
    if get_mask(value) is not None:
        set_mask(copy, get_mask(value))
    return copy


def _current_graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
