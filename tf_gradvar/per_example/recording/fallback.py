"""Exact per-example gradients without a rule: differentiate one example at a time.

The layer was recorded with its inputs and output gradients d, so only the layer itself is called
again: the gradient of example i is that of <layer(inputs_i), d_i>. `tf.vectorized_map` does so for
all examples at once where TensorFlow can vectorise every operation, a plain loop otherwise. Either
way the gradients of all examples of the slice are held in memory.

A layer that does not show its gradients (its variables are used elsewhere, it is called on
something without a batch axis) is measured in the same way, by calling again the smallest
composite around it that does show them: in the last resort the whole model.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import flatten_layers, get_mask, is_seed, set_mask
from tf_gradvar.losses import sum_of_added
from tf_gradvar.per_example.recording.batches import State, at_least_float32
from tf_gradvar.per_example.recording.shadows import kept_as_it_is
from tf_gradvar.per_example.rules.registry import Unit

logger = logging.getLogger("tf_gradvar.per_example")

_announced: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()
# Layers of one class that the announcement calls by their names.
_NAMED = 3
# Vectorising these fails.
_looping: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()

# What vectorized_map raises for operations that it cannot vectorise.
_NOT_VECTORIZABLE = (ValueError, TypeError, LookupError, NotImplementedError, tf.errors.OpError)


def announce(model: keras.Model, slow: Sequence[tuple[Unit, str]]) -> None:
    """Log in one line which layers are measured by the fallback, and each of them once.

    Args:
        model: The model.
        slow: Units with the reason why no rule measures them.
    """
    reasons: dict[str, dict[str, list[str]]] = {}
    new = [(unit, reason) for unit, reason in slow if unit.layer not in _announced]
    for unit, reason in new:
        _announced.add(unit.layer)
        kinds = reasons.setdefault(reason, {})
        kinds.setdefault(type(unit.layer).__name__, []).append(unit.name)
    if not new:
        return
    parts = [
        f"{', '.join(_listed(*kind) for kind in kinds.items())}: {reason}"
        for reason, kinds in reasons.items()
    ]
    logger.warning(
        "Per-example gradients of %d layer%s of model '%s' come from the slower fallback: %s.",
        len(new),
        "s" if len(new) > 1 else "",
        model.name,
        "; ".join(parts),
    )


def _listed(kind: str, names: list[str]) -> str:
    """`2 Swish ('a', 'b')`."""
    shown = [f"'{name}'" for name in names[:_NAMED]]
    if len(names) > _NAMED:
        shown.append(f"and {len(names) - _NAMED} more")
    return f"{len(names)} {kind} ({', '.join(shown)})"


def refuse_random_state(layer: keras.layers.Layer, training: bool) -> None:
    """The fallback calls a layer again, which must give the same result.

    Raises:
        ValueError: If the layer draws random numbers in training mode.
    """
    if training and any(is_seed(variable) for variable in layer.non_trainable_variables):
        raise ValueError(
            "`training` must be False where the fallback has to call layers again, but "
            f"'{layer.path or layer.name}' draws random numbers in training mode; use "
            "training=False, register a rule for the layer, or measure the variance with "
            "method='monte_carlo'."
        )


def layer_gradients(
    unit: Unit, arguments: Any, output_gradients: Any, state: State, training: bool
) -> list[tf.Tensor | None]:
    """Gradients of the unit's variables from one recorded call.

    Args:
        unit: The layer and its variables.
        arguments: Positional and keyword arguments of the recorded call.
        output_gradients: For each of the flattened outputs its gradient or None.
        state: Values to use instead of those of the variables.
        training: Whether the model runs in training mode.

    Returns:
        `[B, *shape]` for each variable; None where the call does not seem to depend on it.
    """
    refuse_random_state(unit.layer, training)
    structure = (arguments, output_gradients)
    leaves = tf.nest.flatten(structure)
    masks = [get_mask(leaf) for leaf in leaves]

    def weighted_output(slices: list[Any]) -> tf.Tensor:
        examples, example_masks = slices[: len(leaves)], slices[len(leaves) :]
        for leaf, mask in zip(examples, example_masks, strict=True):
            if mask is not None:
                set_mask(leaf, mask)
        (args, kwargs), cotangents = tf.nest.pack_sequence_as(structure, examples)
        with _without_activity_regularizer(unit.layer), kept_as_it_is(unit.layer):
            outputs = keras.tree.flatten(unit.layer(*args, **kwargs))
        products = [
            tf.reduce_sum(tf.cast(output, cotangent.dtype) * cotangent)
            for output, cotangent in zip(outputs, cotangents, strict=True)
            if cotangent is not None
        ]
        return tf.add_n(products)

    untouched: set[int] = set()
    how = (weighted_output, unit.variables, [*leaves, *masks], state, untouched)
    gradients = None
    recurrent = any(isinstance(part, keras.layers.RNN) for part in flatten_layers(unit.layer))
    if not (recurrent or unit.layer in _looping):
        gradients = _vectorized(*how)
    if gradients is None:
        _looping.add(unit.layer)
        gradients = _looped(*how)
    return [None if index in untouched else g for index, g in enumerate(gradients)]


@contextmanager
def _without_activity_regularizer(layer: keras.layers.Layer) -> Iterator[None]:
    """Leave out what the layer adds for its own outputs: their gradients hold it already."""
    regularizer = layer.activity_regularizer
    layer.__dict__["activity_regularizer"] = None
    try:
        yield
    finally:
        layer.__dict__["activity_regularizer"] = regularizer


def _vectorized(
    scalar: Callable[[list[Any]], tf.Tensor],
    variables: Sequence[keras.Variable],
    leaves: Sequence[Any],
    state: State,
    untouched: set[int],
) -> list[tf.Tensor] | None:
    """All examples at once; None where TensorFlow cannot vectorise.

    Each example is given as two copies. With one, vectorising gives products of [B, 1, ...] with
    broadcast weights, for which the CPU kernel of BatchMatMulV2 (seen with TensorFlow 2.21 and
    oneDNN) writes out of bounds.
    """
    of_one, batched = _of_one(scalar, variables, leaves, state, untouched, copies=2)
    try:
        with _silent_tensorflow():
            gradients = tf.vectorized_map(of_one, batched, fallback_to_while_loop=False)
    except _NOT_VECTORIZABLE as error:
        logger.debug("Looping over the examples, vectorized_map failed: %s", error)
        return None
    return [at_least_float32(g) for g in gradients]


@contextmanager
def _silent_tensorflow() -> Iterator[None]:
    """Keep back what `vectorized_map` logs: hundreds of lines for one operation, and retracing."""
    tensorflow_logger, thread = tf.get_logger(), threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    tensorflow_logger.addFilter(from_elsewhere)
    try:
        yield
    finally:
        tensorflow_logger.removeFilter(from_elsewhere)


def _looped(
    scalar: Callable[[list[Any]], tf.Tensor],
    variables: Sequence[keras.Variable],
    leaves: Sequence[Any],
    state: State,
    untouched: set[int],
) -> list[tf.Tensor]:
    """One example after the other; vectorising a recurrent layer takes long to trace."""
    of_one, batched = _of_one(scalar, variables, leaves, state, untouched, copies=1)
    specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    gradients = tf.map_fn(of_one, batched, fn_output_signature=specs)
    return [at_least_float32(g) for g in gradients]


def _of_one(
    scalar: Callable[[list[Any]], tf.Tensor],
    variables: Sequence[keras.Variable],
    leaves: Sequence[Any],
    state: State,
    untouched: set[int],
    copies: int,
) -> tuple[Callable[[list[tf.Tensor]], list[tf.Tensor]], list[tf.Tensor]]:
    """A function of the slices of one example, and what is to be sliced.

    Tracing the function notes in `untouched` which of the variables have no gradient.
    """
    values = _values(variables, state)
    scope = [*state, *zip(variables, values, strict=True)]

    def of_one(slices: list[tf.Tensor]) -> list[tf.Tensor]:
        remaining = iter(slices)
        example = [
            tf.stack([next(remaining)] * copies) if tf.is_tensor(leaf) else leaf for leaf in leaves
        ]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            with keras.StatelessScope(scope, collect_losses=True) as inner:
                result = scalar(example) / copies
                # A mean over the copies, unlike the sum above.
                result += sum_of_added(inner.losses, result.dtype)
        gradients = tape.gradient(result, values)
        untouched.update(index for index, g in enumerate(gradients) if g is None)
        return [
            tf.zeros_like(value) if g is None else tf.convert_to_tensor(g)
            for g, value in zip(gradients, values, strict=True)
        ]

    return of_one, [leaf for leaf in leaves if tf.is_tensor(leaf)]


def _values(variables: Sequence[keras.Variable], state: State) -> list[tf.Tensor]:
    given = {id(variable): value for variable, value in state}
    return [
        tf.cast(given[id(v)], v.dtype) if id(v) in given else tf.convert_to_tensor(v.value)
        for v in variables
    ]
