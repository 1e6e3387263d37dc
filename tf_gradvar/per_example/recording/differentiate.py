"""From a model and a batch to one gradient form per trainable variable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Explicit, Forms, GradientForm, leading, total_of
from tf_gradvar.per_example.recording import fallback
from tf_gradvar.per_example.recording.batches import Batch, State, at_least_float32, is_float
from tf_gradvar.per_example.recording.capture import Use, hide_unbatched, record
from tf_gradvar.per_example.recording.problem import Problem
from tf_gradvar.per_example.recording.units import enclosing_units
from tf_gradvar.per_example.rules.registry import Unit


def gradient_forms(
    problem: Problem, batch: Batch, state: State
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
    problem.refuse_unknown(slow)
    forms, hidden, losses = _one_pass(problem, batch, state)
    problem.refuse_unknown(hidden)
    fallback.announce(problem.model, slow + hidden)
    while hidden:
        larger = enclosing_units(problem.model, [unit for unit, _ in hidden])
        problem = replace(problem, units=larger)
        more, hidden, _ = _one_pass(problem, batch, state)
        forms.update(more)
    return [forms[index] for index in range(len(problem.model.trainable_variables))], losses


def _one_pass(
    problem: Problem, batch: Batch, state: State
) -> tuple[dict[int, GradientForm], list[tuple[Unit, str]], tf.Tensor]:
    """Forms by variable index, the units that hide theirs with the reason, and the losses."""
    run = (problem.model, batch.x, problem.units)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        outputs, recording = record(*run, state=state, training=problem.training, tape=tape)
        losses = problem.losses(batch, outputs, recording.added)
        total = problem.loss.total(losses, recording.added)
    problem.refuse_unknown_share(recording.added)
    # After the losses: another call of the model forgets what this one has added to them.
    hide_unbatched(recording, *run, state=state, training=problem.training)
    for place, unit in enumerate(problem.units):
        if unit.name in problem.hidden:
            recording.hidden.setdefault(place, "its recorded calls do not tell the examples apart")
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
            placed[place].append(
                [at_least_float32(next(remaining)) if is_float(leaf) else None for leaf in leaves]
            )
    return placed


def _is_lost(
    problem: Problem,
    unit: Unit,
    calls: list[Use],
    gradients: list[list[tf.Tensor | None]],
    batch: Batch,
    state: State,
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
    return bool(problem.reached(unit.variables, batch, state))


def _unit_forms(
    problem: Problem,
    unit: Unit,
    calls: list[Use],
    gradients: list[list[tf.Tensor | None]],
    batch: Batch,
    state: State,
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
    state: State,
) -> None:
    """Refuse to take a gradient for zero that is not."""
    reached = problem.reached(variables, batch, state)
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
    state: State,
) -> Forms:
    if unit.rule is not None:
        inputs = _once_known(cotangents, at_least_float32(use.inputs))
        return unit.rule.forms(unit.layer, inputs, cotangents, use.arguments, use.outputs)
    explicit = fallback.layer_gradients(unit, use.arguments, cotangents, state, problem.training)
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


def _form_dtype(variable: keras.Variable) -> tf.DType:
    dtype = tf.as_dtype(variable.dtype)
    return dtype if dtype.size >= 4 else tf.float32
