"""One forward pass that records layer inputs A and watches what is to be differentiated.

Layers are intercepted by shadows of their `call` (`shadows.py`). They end with an activation, but
rules need the gradient before it. The recorded call therefore runs the real `call` on a twin of the
layer, an object with the same attributes and the same variables whose activation is the identity,
watches its result, and then applies the activation.

The pass runs inside a `StatelessScope`: variables keep their values (batch-norm statistics, seeds
of dropout), and the same scope evaluates the model at other weights. The scope also sees who
reads a variable. A variable that is read outside of its own layer (tied weights), by a layer that
was called on something without a batch axis, or inside a graph of its own (a loop, a
rematerialised block) is reported as `hidden`, and its gradients come from the fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import call_model, get_mask, set_mask
from tf_gradvar.per_example.recording.batches import State, is_float
from tf_gradvar.per_example.recording.shadows import shadowed_calls
from tf_gradvar.per_example.rules.registry import Unit


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
        state: State,
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


def record(
    model: keras.Model,
    x: Any,
    units: Sequence[Unit],
    *,
    state: State,
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
    wrappers = [
        (unit.layer, _recorded_call(unit, place, scope, recording, tape))
        for place, unit in enumerate(units)
    ]
    with shadowed_calls(model, wrappers), scope:
        outputs = call_model(model, x, training)
    recording.added = scope.losses
    return outputs, recording


def hide_unbatched(
    recording: Recording,
    model: keras.Model,
    x: Any,
    units: Sequence[Unit],
    *,
    state: State,
    training: bool,
) -> None:
    """Hide units that were called on tensors without a batch axis; arguments as for `record`.

    A leading axis of the right length may be an accident (positions 0..T-1 with T = B, a batch
    axis that was moved). A second pass over one example, of which only shapes are used, tells
    them apart. It costs nothing inside a `tf.function`.
    """
    examples = keras.tree.flatten(x)[0].shape[0]
    seen = _seen_tensors(units, recording)
    one_seen: dict[int, list[Any]] = {}
    if examples != 1:
        one = tf.nest.map_structure(lambda tensor: tensor[0][tf.newaxis], x)
        _, probe = record(model, one, units, state=state, training=training, tape=None)
        one_seen = _seen_tensors(units, probe)
    for place, tensors in seen.items():
        if not (_lead_with(tensors, examples) and _lead_with(one_seen.get(place, []), 1)):
            recording.hidden[place] = "it was called on a tensor without the batch axis"


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


def _seen_tensors(units: Sequence[Unit], recording: Recording) -> dict[int, list[Any]]:
    """For each unit the tensors that must have a batch axis.

    These are all arguments where all of them matter, and the first otherwise.
    """
    seen: dict[int, list[Any]] = {}
    for place, calls in recording.uses.items():
        rule = units[place].rule
        again = rule is None or rule.whole_call
        values = [(use.arguments if again else use.inputs, use.outputs) for use in calls]
        seen[place] = [leaf for leaf in tf.nest.flatten(values) if tf.is_tensor(leaf)]
    return seen


def _lead_with(tensors: list[Any], length: int | None) -> bool:
    """Whether all tensors have a first axis of a length.

    A graph does not know all lengths (those that `TextVectorization` returns, for instance): it
    compares them when it runs.
    """
    if not all(tensor.shape.rank and tensor.shape[0] in (length, None) for tensor in tensors):
        return False
    for tensor in tensors:
        if length is not None and tensor.shape[0] is None:
            tf.debugging.assert_equal(
                tf.shape(tensor)[0],
                length,
                "A layer was called on a tensor without the batch axis, which shows only when the "
                "graph runs: per-example gradients cannot be told apart. Measure outside of "
                "`tf.function`, where lengths are known.",
            )
    return True
