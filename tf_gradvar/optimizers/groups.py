"""The groups of a step, as `correct_gradients` is given them: checked, and judged one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tf_gradvar.optimizers.update_rule import Groups, finite_rows


def check_groups(
    group_gradients: Sequence[Any], group_clusters: Any, group_sizes: Any, buffers: Sequence[Any]
) -> None:
    """Raise unless the groups fit the buffers.

    Args:
        group_gradients: A tensor [C, *shape] for each variable, or None.
        group_clusters: A tensor [C].
        group_sizes: A tensor [C], or None.
        buffers: A variable [K, *shape] for each variable.

    Raises:
        ValueError: If a length, shape or dtype does not fit.
    """
    if len(group_gradients) != len(buffers):
        raise ValueError(
            "`group_gradients` must hold one entry for each of the "
            f"{len(buffers)} variables that the optimizer was built with (None for a "
            f"variable without a gradient). Received {len(group_gradients)} entries. If layers "
            "were frozen or unfrozen since, compile the model again with a new optimizer: "
            "like every Keras optimizer, this one keeps to the variables it was built with."
        )
    shape = tuple(ops.shape(group_clusters))
    dtype = keras.backend.standardize_dtype(group_clusters.dtype)
    if len(shape) != 1 or not isinstance(shape[0], int) or "int" not in dtype:
        raise ValueError(
            "`group_clusters` must be integers of a static shape [C], the cluster of each "
            f"group. Received shape {shape} and dtype {dtype}."
        )
    if group_sizes is not None and tuple(ops.shape(group_sizes)) != shape:
        raise ValueError(
            f"`group_sizes` must have the shape of `group_clusters`, {shape}. Received "
            f"shape {tuple(ops.shape(group_sizes))}."
        )
    for gradient, buffer in zip(group_gradients, buffers, strict=True):
        expected = (*shape, *buffer.shape[1:])
        if gradient is not None and tuple(gradient.shape) != expected:
            raise ValueError(
                "`group_gradients` must have the shape [C, *shape] with one mean gradient "
                f"for each of the C={shape[0]} groups; {buffer.name} needs {expected}. "
                f"Received shape {tuple(gradient.shape)}."
            )


def judged_groups(
    group_gradients: Sequence[Any], group_clusters: Any, group_sizes: Any, num_clusters: int
) -> tuple[Groups, Any]:
    """Return the groups, and how many of them are left out of the step.

    A group is left out if its gradient is not finite or its cluster is not in [0, K). A group
    of size 0 is absent, not left out.

    Args:
        group_gradients: A tensor [C, *shape] for each variable, or None.
        group_clusters: A tensor [C] of integers.
        group_sizes: A tensor [C], or None.
        num_clusters: K.

    Returns:
        `Groups`, and an int32 scalar.
    """
    gradients = [None if g is None else ops.cast(g, "float32") for g in group_gradients]
    clusters = ops.cast(group_clusters, "int32")
    valid = ops.logical_and(clusters >= 0, clusters < num_clusters)
    given = [gradient for gradient in gradients if gradient is not None]
    if given:
        valid = ops.logical_and(valid, finite_rows(given))
    skipped = ops.logical_not(valid)
    if group_sizes is not None:
        skipped = ops.logical_and(group_sizes > 0, skipped)
    clusters = ops.clip(clusters, 0, num_clusters - 1)
    groups = Groups(gradients, clusters, valid, group_sizes)
    return groups, ops.sum(ops.cast(skipped, "int32"))
