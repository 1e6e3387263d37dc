"""From a model and a batch to one gradient form per trainable variable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example import fallback
from tf_gradvar.per_example.batches import Batch
from tf_gradvar.per_example.capture import Recording, Use, call_model, is_float, run_model
from tf_gradvar.per_example.forms import Explicit, GradientForm, leading, total_of
from tf_gradvar.per_example.units import Unit, enclosing_units


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


def gradient_forms(
    problem: Problem, batch: Batch, state: fallback.State
) -> tuple[list[GradientForm], tf.Tensor]:
    """One forward and backward pass, and more only for layers that hide their gradients.

    Args:
        problem: What to differentiate.
        batch: The examples.
        state: Pairs (variable, value) to use instead of the variables' own values.

    Returns:
        The gradient form of each trainable variable, and the losses `[B]`.
    """
    slow = [(u, "there is no rule for this layer") for u in problem.units if u.rule is None]
    _refuse_unknown(problem, slow)
    forms, hidden, losses = _one_pass(problem, batch, state)
    _refuse_unknown(problem, hidden)
    fallback.announce(problem.model, slow + hidden)
    while hidden:
        larger = enclosing_units(problem.model, [unit for unit, _ in hidden])
        problem = replace(problem, units=larger)
        more, hidden, _ = _one_pass(problem, batch, state)
        forms.update(more)
    return [forms[index] for index in range(len(problem.model.trainable_variables))], losses


def _one_pass(
    problem: Problem, batch: Batch, state: fallback.State
) -> tuple[dict[int, GradientForm], list[tuple[Unit, str]], tf.Tensor]:
    """Forms by variable index, the units that hide theirs with the reason, and the losses."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        outputs, recording = run_model(
            problem.model,
            batch.x,
            problem.units,
            state=state,
            training=problem.training,
            tape=tape,
        )
        losses = problem.losses(batch, outputs, recording.added)
        total = problem.loss.total(losses, recording.added)
    _refuse_unknown_share(problem, recording)
    _hide_unbatched(problem, batch, recording, state)
    uses = {
        place: calls for place, calls in recording.uses.items() if place not in recording.hidden
    }
    gradients = _output_gradients(tape, total, uses)
    forms: dict[int, GradientForm] = {}
    for place, calls in uses.items():
        unit = problem.units[place]
        if _is_lost(problem, unit, calls, gradients[place], batch, state):
            recording.hidden[place] = "the gradient does not pass through its recorded output"
            continue
        with keras.StatelessScope(state):
            forms.update(_unit_forms(problem, unit, calls, gradients[place], batch, state))
    hidden = [(problem.units[place], reason) for place, reason in recording.hidden.items()]
    return forms, hidden, losses


def _output_gradients(
    tape: tf.GradientTape, total: tf.Tensor, uses: dict[int, list[Use]]
) -> dict[int, list[list[tf.Tensor | None]]]:
    """For each unit and call: gradients of the flattened outputs."""
    watched = [
        leaf
        for calls in uses.values()
        for use in calls
        for leaf in keras.tree.flatten(use.outputs)
        if is_float(leaf)
    ]
    remaining = iter(tape.gradient(total, watched) if watched else [])
    placed: dict[int, list[list[tf.Tensor | None]]] = {}
    for place, calls in uses.items():
        placed[place] = []
        for use in calls:
            leaves = keras.tree.flatten(use.outputs)
            found = [_at_least_float32(next(remaining)) for leaf in leaves if is_float(leaf)]
            placed[place].append(fallback.cotangents_of(use.outputs, found))
    return placed


def _is_lost(
    problem: Problem,
    unit: Unit,
    calls: list[Use],
    gradients: list[list[tf.Tensor | None]],
    batch: Batch,
    state: fallback.State,
) -> bool:
    """Whether an output carries no gradient though the loss depends on the variables.

    A rule that sees the whole call knows that the outputs are the only way out of the layer: one
    that is used is enough (an encoder hands on its states alone).
    """
    enough = any if unit.rule is not None and unit.rule.whole_call else all
    complete = all(
        enough(
            gradient is not None
            for leaf, gradient in zip(keras.tree.flatten(use.outputs), found, strict=True)
            if is_float(leaf)
        )
        for use, found in zip(calls, gradients, strict=True)
    )
    if complete or unit.layer is problem.model:
        return False
    return bool(_reached(problem, unit.variables, batch, state))


def _reached(
    problem: Problem,
    variables: Sequence[keras.Variable],
    batch: Batch,
    state: fallback.State,
) -> list[keras.Variable]:
    """Which of the variables the loss depends on, from a pass of its own."""

    def loss(scope: keras.StatelessScope) -> tf.Tensor:
        outputs = call_model(problem.model, batch.x, problem.training)
        losses = problem.losses(batch, outputs, scope.losses)
        return problem.loss.total(losses, scope.losses)

    return fallback.reached_variables(loss, variables, state)


def _unit_forms(
    problem: Problem,
    unit: Unit,
    calls: list[Use],
    gradients: list[list[tf.Tensor | None]],
    batch: Batch,
    state: fallback.State,
) -> dict[int, GradientForm]:
    """Forms of a unit's variables, by their index in the model; calls are added."""
    found: dict[int, list[GradientForm]] = {id(v): [] for v in unit.variables}
    for use, cotangents in zip(calls, gradients, strict=True):
        if all(cotangent is None for cotangent in cotangents):
            continue
        for variable, form in _call_forms(problem, unit, use, cotangents, state):
            if id(variable) in found:
                found[id(variable)].append(form)
    without = [v for v in unit.variables if not found[id(v)]]
    if without and (unit.rule is None or any(found.values())):
        _check_unreached(problem, unit, without, batch, state)
    examples = leading(keras.tree.flatten(batch.x)[0])
    forms: dict[int, GradientForm] = {}
    for variable, index in zip(unit.variables, unit.indices, strict=True):
        parts = found[id(variable)]
        if not parts:
            parts = [Explicit(tf.zeros([examples, *variable.shape], _form_dtype(variable)))]
        forms[index] = total_of(parts)
    return forms


def _check_unreached(
    problem: Problem,
    unit: Unit,
    variables: list[keras.Variable],
    batch: Batch,
    state: fallback.State,
) -> None:
    """Refuse to take a gradient for zero that is not."""
    reached = _reached(problem, variables, batch, state)
    if not reached:
        return
    names = [variable.path for variable in reached]
    if unit.rule is not None:
        raise ValueError(
            f"The rule for {type(unit.layer).__name__} must return a form for each trainable "
            f"variable, {names} of layer '{unit.name}' are missing; add them to the list that "
            "the rule returns."
        )
    raise ValueError(
        f"The gradients of {names} must be visible when the layer '{unit.name}' is called again, "
        "but it hides them (as tf.recompute_grad does). Call it without recomputation, or "
        "register a rule for it."
    )


def _call_forms(
    problem: Problem,
    unit: Unit,
    use: Use,
    cotangents: list[tf.Tensor | None],
    state: fallback.State,
) -> list[tuple[keras.Variable, GradientForm]]:
    if unit.rule is not None:
        inputs = _once_known(cotangents, _at_least_float32(use.inputs))
        return unit.rule.forms(unit.layer, inputs, cotangents, use.arguments, use.outputs)
    explicit = fallback.layer_gradients(unit, use, cotangents, state, problem.training)
    return [
        (v, Explicit(g)) for v, g in zip(unit.variables, explicit, strict=True) if g is not None
    ]


def _once_known(gradients: Sequence[tf.Tensor | None], inputs: Any) -> Any:
    """The inputs, for a graph after the output gradients of the layer.

    Else it would prepare the inputs of all layers (slices under kernels, hidden states) during the
    forward pass, and hold them all until the backward pass comes to them.
    """
    with tf.control_dependencies([g for g in gradients if g is not None]):
        return tf.identity(inputs) if tf.is_tensor(inputs) else inputs


def _refuse_unknown(problem: Problem, slow: Sequence[tuple[Unit, str]]) -> None:
    """Raise for units that need the fallback, if that is what the user wants."""
    if problem.on_unknown == "raise" and slow:
        unit, reason = slow[0]
        raise ValueError(
            "`on_unknown` is 'raise', and the per-example gradients of layer "
            f"'{unit.name}' ({type(unit.layer).__name__}) need the fallback: {reason}. Register a "
            "rule with `register_rule`, or use on_unknown='fallback'."
        )


def _refuse_unknown_share(problem: Problem, recording: Recording) -> None:
    """Layers that are called again must add to the loss what they added in the model."""
    again = [unit.name for unit in problem.units if unit.rule is None]
    if problem.loss.computes_itself and recording.added and again:
        raise ValueError(
            f"`loss` must be given where layers add losses and {again} have no rule: what "
            f"{problem.loss.name} makes of the added losses is not known. Pass a `loss`, or "
            "register rules for these layers."
        )


def _hide_unbatched(
    problem: Problem, batch: Batch, recording: Recording, state: fallback.State
) -> None:
    """Hide units that were called on tensors without a batch axis.

    A leading axis of the right length may be an accident (positions 0..T-1 with T = B, a batch
    axis that was moved). A second pass over one example, of which only shapes are used, tells
    them apart. It costs nothing inside a `tf.function`.
    """
    examples = keras.tree.flatten(batch.x)[0].shape[0]
    seen = _seen_tensors(problem, recording)
    one_seen: dict[int, list[Any]] = {}
    if examples != 1:
        _, probe = run_model(
            problem.model,
            tf.nest.map_structure(lambda tensor: tensor[0][tf.newaxis], batch.x),
            problem.units,
            state=state,
            training=problem.training,
            tape=None,
        )
        one_seen = _seen_tensors(problem, probe)
    for place, tensors in seen.items():
        if not (_lead_with(tensors, examples) and _lead_with(one_seen.get(place, []), 1)):
            recording.hidden[place] = "it was called on a tensor without the batch axis"
        elif problem.units[place].name in problem.hidden:
            recording.hidden[place] = "its recorded calls do not tell the examples apart"


def _seen_tensors(problem: Problem, recording: Recording) -> dict[int, list[Any]]:
    """For each unit the tensors that must have a batch axis.

    These are all arguments where all of them matter, and the first otherwise.
    """
    seen: dict[int, list[Any]] = {}
    for place, calls in recording.uses.items():
        rule = problem.units[place].rule
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


def _at_least_float32(tensor: Any) -> Any:
    """Half precision becomes float32; IndexedSlices become dense; the rest stays."""
    if tensor is None:
        return None
    tensor = tf.convert_to_tensor(tensor)
    half = tensor.dtype.is_floating and tensor.dtype.size < 4
    return tf.cast(tensor, tf.float32) if half else tensor


def _form_dtype(variable: keras.Variable) -> tf.DType:
    dtype = tf.as_dtype(variable.dtype)
    return dtype if dtype.size >= 4 else tf.float32
