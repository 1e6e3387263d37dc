"""Rows of a stack [K, *shape]: read and written so that XLA copies no more than them.

XLA merges the reading of one row into whatever uses the row, also into writing it back, and then
copies the whole stack, so that all of these see it as it was. Of two rows it makes a tensor of
their own first. On CPUs it also turns all of a bfloat16 stack into float32 to write several of its
rows at once, which it does not for one row.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def read_rows(stack: Any, indices: Any) -> Any:
    """Return rows `indices` [M] of a stack [K, *shape].

    Args:
        stack: A tensor.
        indices: Integers in [0, K).
    """
    if indices.shape[0] == 1:
        return ops.take(stack, ops.concatenate([indices, indices]), axis=0)[:1]
    return ops.take(stack, indices, axis=0)


def write_rows(stack: Any, indices: Any, rows: Any) -> Any:
    """Return a stack with rows [M, *shape] in the places of its rows `indices` [M].

    Args:
        stack: A tensor [K, *shape].
        indices: Integers in [0, K). One that occurs twice must come with the same row both times.
        rows: Of the dtype of the stack.
    """
    start = [0] * (len(stack.shape) - 1)

    def write(i: Any, stack: Any) -> Any:
        row = ops.take(rows, ops.reshape(i, (1,)), axis=0)
        return ops.slice_update(stack, [indices[i], *start], row)

    if indices.shape[0] == 1:
        return ops.slice_update(stack, [indices[0], *start], rows)
    if rows.dtype != "float32" and keras.backend.backend() == "jax":
        return ops.fori_loop(0, indices.shape[0], write, stack)
    return ops.scatter_update(stack, indices[:, None], rows)
