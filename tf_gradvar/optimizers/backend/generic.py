"""The backend functions in `keras.ops` alone; JAX compiles them into in-place updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from tf_gradvar.keras_internals import in_stateless_scope
from tf_gradvar.optimizers.backend.sharded_rows import BLOCKS_ARE_REPLICAS as BLOCKS_ARE_REPLICAS
from tf_gradvar.optimizers.backend.sharded_rows import make_owned_stack as make_owned_stack
from tf_gradvar.optimizers.backend.sharded_rows import num_owners as num_owners
from tf_gradvar.optimizers.backend.sharded_rows import replica_id as replica_id
from tf_gradvar.optimizers.stacked_rows import read_rows, write_rows
from tf_gradvar.optimizers.update_rule import (
    ControlMoments,
    Groups,
    Rule,
    as_column,
    mixing_weights,
    scale_correction,
    update,
)


def dense(gradient: Any) -> Any:
    """Return a gradient as a tensor without sparse storage (or None)."""
    return None if gradient is None else ops.convert_to_tensor(gradient, sparse=False)


def correct(
    groups: Groups,
    buffers: Sequence[Any],
    averages: Sequence[Any],
    probabilities: Any,
    rule: Rule,
) -> tuple[list[Any], list[ControlMoments]]:
    """Return the corrected gradient of each variable and move its buffers, by the definition.

    Args:
        groups: Of the step, with a gradient for each variable.
        buffers: A variable [K, *shape] for each variable.
        averages: A variable [*shape] for each variable.
        probabilities: q, float [K].
        rule: The numbers of the update rule.

    Returns:
        v, a list of float32 tensors [*shape]; and the moments of the control variate for each
        variable, an empty list for a rule without scales.
    """
    weights = mixing_weights(groups.weights, groups.clusters, probabilities)
    found, moments = [], []
    for i, (gradient, buffer, average) in enumerate(
        zip(groups.gradients, buffers, averages, strict=True)
    ):
        finite = ops.where(as_column(groups.valid, gradient), gradient, 0.0)
        stack, mean = ops.convert_to_tensor(buffer), ops.convert_to_tensor(average)
        updated = update(finite, groups.clusters, stack, mean, weights, rule.alpha, rule.gain)
        corrected = updated.corrected
        if rule.scales is not None:
            held = ops.cast(read_rows(stack, groups.clusters), "float32")
            corrected, learned = scale_correction(
                corrected, finite, held, mean, weights.of_groups, rule.scales[i]
            )
            moments.append(learned)
        found.append(corrected)
        buffer.assign(updated.buffers)
        average.assign(updated.average)
    return found, moments


def all_groups(groups: Groups, num_clusters: int) -> tuple[list[Any], Any, Any]:
    """Return the groups of all replicas.

    Args:
        groups: Of the step on this replica, with a gradient for each variable.
        num_clusters: K.

    Returns:
        G_c of each variable, [C, *shape], n_c [C] and k_c [C]; a gradient and a size of 0 for a
        group that is left out. In place of more groups than clusters there may be their means.
    """
    del num_clusters
    gradients = [ops.where(as_column(groups.valid, g), g, 0.0) for g in groups.gradients]
    return gradients, groups.weights, groups.clusters


def rows_of(variable: Any, indices: Any) -> Any:
    """Return rows `indices` [M] of a stacked variable [K, *shape]."""
    return read_rows(ops.convert_to_tensor(variable), indices)


def put_rows(variable: Any, indices: Any, rows: Any) -> None:
    """Write `rows` [M, *shape] over rows `indices` [M] of a variable [K, *shape].

    An index that occurs twice must come with the same row both times.
    """
    stack = ops.convert_to_tensor(variable)
    variable.assign(write_rows(stack, indices, ops.cast(rows, variable.dtype)))


def add_scaled(variable: Any, scale: Any, value: Any) -> None:
    """Add `scale * value` to a variable."""
    variable.assign(variable + ops.cast(scale, variable.dtype) * ops.cast(value, variable.dtype))


def move_towards(variable: Any, weight: Any, value: Any) -> None:
    """Add `weight * (value - variable)` to a variable."""
    value = ops.cast(value, variable.dtype)
    variable.assign(variable + ops.cast(weight, variable.dtype) * (value - variable))


def step_with_momentum(
    variable: Any, momentum: Any, decay: Any, gradient: Any, learning_rate: Any
) -> None:
    """Set momentum to `decay * momentum + gradient`, then take `learning_rate` times it off."""
    momentum.assign(ops.cast(decay, variable.dtype) * momentum + ops.cast(gradient, variable.dtype))
    add_scaled(variable, -ops.cast(learning_rate, variable.dtype), momentum)


def copy_if(condition: Any, sources: Sequence[Any], targets: Sequence[Any]) -> None:
    """Assign each source variable to its target where a scalar condition holds."""
    for source, target in zip(sources, targets, strict=True):
        kept, held = ops.convert_to_tensor(target), ops.convert_to_tensor(source)
        target.assign(ops.where(condition, held, kept))


def num_replicas() -> int:
    """Return 1: `tf.distribute` exists on TensorFlow only."""
    return 1


def sum_over_replicas(tensors: Sequence[Any]) -> Sequence[Any]:
    """Return the tensors: one replica holds everything."""
    return tensors


def in_graph() -> bool:
    """Return whether the caller is part of a function without state, as compiled ones are."""
    return in_stateless_scope()


def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return the function itself."""
    return function
