"""The backend functions on TensorFlow: in-place rows and replicas.

Reads and writes go through `variable.handle`, which inside a replica is the handle of that
replica's own copy. Every replica computes the same new value from the same gathered
gradients, so each writes its own copy and nothing is reduced a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from tf_gradvar.optimizers.backend.tensorflow_pieces import (
    BLOCKS_ARE_REPLICAS as BLOCKS_ARE_REPLICAS,
)
from tf_gradvar.optimizers.backend.tensorflow_pieces import make_owned_stack as make_owned_stack
from tf_gradvar.optimizers.backend.tensorflow_pieces import num_owners as num_owners
from tf_gradvar.optimizers.backend.tensorflow_pieces import replica_id as replica_id
from tf_gradvar.optimizers.backend.tensorflow_rows import add_scaled as add_scaled
from tf_gradvar.optimizers.backend.tensorflow_rows import after, read, under_xla
from tf_gradvar.optimizers.backend.tensorflow_rows import put_rows as put_rows
from tf_gradvar.optimizers.backend.tensorflow_rows import rows_of as rows_of
from tf_gradvar.optimizers.update_rule import (
    ControlMoments,
    Groups,
    MixingWeights,
    RowSteps,
    Rule,
    as_column,
    combine_rows,
    mixing_weights,
    row_steps,
    scale_correction,
)

# Of how many weights a variable's groups are taken in one by one, and of how many groups at most.
_LARGE_ROW = 2**16
_MOST_ROWS = 16


def dense(gradient: Any) -> Any:
    """Return a gradient as a tensor: an embedding gives rows and their indices (or None)."""
    return None if gradient is None else tf.convert_to_tensor(gradient)


def move_towards(variable: Any, weight: Any, value: Any) -> None:
    """Add `weight * (value - variable)` to a variable, in place."""
    add_scaled(variable, -weight, read(variable) - tf.cast(value, variable.dtype))


def step_with_momentum(
    variable: Any, momentum: Any, decay: Any, gradient: Any, learning_rate: Any
) -> None:
    """Set momentum to `decay * momentum + gradient`, then take `learning_rate` times it off.

    One operation, in place, for two variables of the same dtype.
    """
    tf.raw_ops.ResourceApplyMomentum(
        var=variable.handle,
        accum=momentum.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=tf.cast(gradient, variable.dtype),
        momentum=tf.cast(decay, variable.dtype),
    )


def copy_if(condition: Any, sources: Sequence[Any], targets: Sequence[Any]) -> None:
    """Assign each source variable to its target where a scalar condition holds."""

    def copy() -> bool:
        for source, target in zip(sources, targets, strict=True):
            tf.raw_ops.AssignVariableOp(resource=target.handle, value=read(source))
        return True

    tf.cond(condition, copy, lambda: False)


def num_replicas() -> int:
    """Return how many replicas run the code that calls this; 1 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def sum_over_replicas(tensors: Sequence[Any]) -> Sequence[Any]:
    """Return each tensor summed over the replicas."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))


def in_graph() -> bool:
    """Return whether the caller is being traced into a graph."""
    return not tf.executing_eagerly()


def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a plain function that runs the given one as a `tf.function`.

    A `tf.function` as an attribute of an optimizer would end up in exported models.
    """
    graph_function = tf.function(function, autograph=False)
    return lambda: graph_function()


def correct(
    groups: Groups,
    buffers: Sequence[Any],
    averages: Sequence[Any],
    probabilities: Any,
    rule: Rule,
) -> tuple[list[Any], list[ControlMoments]]:
    """Return the corrected gradient of each variable and move its buffers in place.

    Computes what `update_rule.update` defines, for the groups of all replicas, in as few sweeps
    over memory as it takes. More groups than clusters are first reduced to one for each cluster.
    Arguments and result are those of `generic.correct`.
    """
    num_groups = num_replicas() * groups.clusters.shape[0]
    rows, sizes, clusters = _of_all_replicas(
        _without_invalid(groups, buffers), groups, probabilities.shape[0]
    )
    weights = mixing_weights(sizes, clusters, probabilities)
    one_group = num_groups == 1 and groups.sizes is None and rule.scales is None
    steps = None
    if rule.scales is None and rule.alpha > 0.0:
        steps = row_steps(sizes, clusters, probabilities, rule)
    probability = ops.take(probabilities, clusters[0])
    found: list[Any] = []
    moments: list[ControlMoments] = []
    written: list[Any] = [None, None]
    for i, (row, buffer, average) in enumerate(zip(rows, buffers, averages, strict=True)):
        with after(written[-2]):  # two variables at a time: copying a row takes one core
            if one_group:
                corrected, write = _correct_one_group(
                    row[0], clusters[0], buffer, average, probability, rule
                )
            elif steps is not None and _goes_row_by_row(row, buffer):
                corrected, write = _correct_row_by_row(row, clusters, buffer, average, steps)
            else:
                corrected, write, learned = _correct_rows(
                    row, clusters, buffer, average, weights, rule, i
                )
                moments += learned
        found.append(corrected)
        written.append(write)
    return found, moments


def _without_invalid(groups: Groups, buffers: Sequence[Any]) -> list[Any]:
    """Return gradients with the buffer's own row for an invalid one: its deviation is 0."""
    gradients = list(groups.gradients)

    def replaced() -> list[Any]:
        return [
            tf.where(
                as_column(groups.valid, gradient),
                gradient,
                tf.cast(rows_of(buffer, groups.clusters), gradient.dtype),
            )
            for gradient, buffer in zip(gradients, buffers, strict=True)
        ]

    return tf.cond(tf.reduce_all(groups.valid), lambda: gradients, replaced) if gradients else []


def all_groups(groups: Groups, num_clusters: int) -> tuple[list[Any], Any, Any]:
    """Return the groups of all replicas; more groups than clusters are reduced to one for each.

    Arguments and result are those of `generic.all_groups`.
    """
    gradients = list(groups.gradients)

    def replaced() -> list[Any]:
        return [tf.where(as_column(groups.valid, g), g, 0.0) for g in gradients]

    finite = tf.cond(tf.reduce_all(groups.valid), lambda: gradients, replaced)
    return _of_all_replicas(finite, groups, num_clusters)


def _of_all_replicas(
    rows: Sequence[Any], groups: Groups, num_clusters: int
) -> tuple[list[Any], Any, Any]:
    """Return the gradients, sizes and clusters of all replicas, at most one row for a cluster."""
    clusters, sizes = groups.clusters, groups.weights
    num_groups = num_replicas() * clusters.shape[0]
    if num_groups > num_clusters and num_groups > 1:
        return _mean_per_cluster(rows, sizes, clusters, num_clusters)
    if num_replicas() > 1:
        own = [*rows, sizes, clusters]
        gathered = tf.distribute.get_replica_context().all_gather(own, axis=0)
        for tensor, like in zip(gathered, own, strict=True):
            tensor.set_shape((num_groups, *like.shape[1:]))  # which a gathered tensor has lost
        *rows, sizes, clusters = gathered
    return list(rows), sizes, clusters


def _mean_per_cluster(
    rows: Sequence[Any], sizes: Any, clusters: Any, num_clusters: int
) -> tuple[list[Any], Any, Any]:
    """Return the mean gradient of every cluster over all replicas, K rows."""
    members = tf.transpose(tf.one_hot(clusters, num_clusters)) * sizes
    sums = [tf.reduce_sum(members, axis=1), *(combine_rows(members, row) for row in rows)]
    if num_replicas() > 1:
        sums = list(sum_over_replicas(sums))
    sizes, *rows = sums
    means = [tf.math.divide_no_nan(row, as_column(sizes, row)) for row in rows]
    return means, sizes, tf.range(num_clusters)


def _correct_one_group(
    gradient: Any, cluster: Any, buffers: Any, average: Any, probability: Any, rule: Rule
) -> tuple[Any, Any]:
    """Return v of one variable and the operation that wrote its buffer, for C = 1.

    A tensor is overwritten in place by the last operation that reads it, so each one waits for
    the others: the row, its deviation and the new row are one piece of memory.
    """
    alpha = rule.alpha
    held = tf.cast(rows_of(buffers, cluster), "float32")
    deviation = gradient - held
    corrected = (deviation if rule.gain == 1.0 else rule.gain * deviation) + average
    with after(corrected):
        if buffers.dtype == "float32":
            moved = add_scaled(average, probability * alpha, deviation)
            with after(moved):
                new = gradient - (1.0 - alpha) * deviation
        else:  # gbar stays the average of the buffers as they are rounded
            new = tf.cast(gradient - (1.0 - alpha) * deviation, buffers.dtype)
            moved = add_scaled(average, probability, tf.cast(new, "float32") - held)
    with after(moved):
        return corrected, put_rows(buffers, cluster, new)


def _goes_row_by_row(rows: Any, buffers: Any) -> bool:
    """Return whether a variable's groups are taken in one after the other.

    Rows that overflow the caches are worth the operations that it takes. Rounded buffers are
    not: their rounding would enter v.
    """
    large = rows.shape[1:].num_elements() >= _LARGE_ROW and rows.shape[0] <= _MOST_ROWS
    return large and buffers.dtype == "float32" and not under_xla()


def _correct_row_by_row(
    rows: Any, clusters: Any, buffers: Any, average: Any, steps: RowSteps
) -> tuple[Any, Any]:
    """Return v of one variable and the operation that wrote its last row."""
    corrected = write = None
    for c in range(rows.shape[0]):
        with after(write):
            held = rows_of(buffers, clusters[c])
            deviation = rows[c] - held
            before = read(average) if corrected is None else corrected
            corrected = before + steps.of_corrected[c] * deviation
        with after(corrected):
            moved = add_scaled(average, steps.of_average[c], deviation)
        with after(moved):
            new = held + steps.of_buffers[c] * deviation
            write = put_rows(buffers, clusters[c], new)
    return corrected, write


def _correct_rows(
    rows: Any,
    clusters: Any,
    buffers: Any,
    average: Any,
    weights: MixingWeights,
    rule: Rule,
    index: int,
) -> tuple[Any, Any, list[ControlMoments]]:
    """Return v of one variable, the operation that wrote its buffers, and its moments if asked."""
    held = tf.cast(rows_of(buffers, clusters), "float32")
    deviations = rows - held
    corrected = combine_rows(rule.gain * weights.of_groups, deviations) + average
    moments: list[ControlMoments] = []
    if rule.scales is not None:
        corrected, learned = scale_correction(
            corrected, rows, held, read(average), weights.of_groups, rule.scales[index]
        )
        moments = [learned]
    change = combine_rows(rule.alpha * weights.in_clusters, deviations)
    new = tf.cast(held + change, buffers.dtype)
    if buffers.dtype != "float32":  # gbar stays the average of the buffers as rounded
        change = tf.cast(new, "float32") - held
    # Moments that nobody uses are not worth their sweeps.
    with after(corrected), after(moments[0].covariance if rule.learns else None):
        moved = add_scaled(average, 1.0, combine_rows(weights.of_clusters, change))
    with after(moved):
        return corrected, put_rows(buffers, clusters, new), moments
