"""Variables of TensorFlow changed in place: whole, or a few rows of a stacked one."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def add_scaled(variable: Any, scale: Any, value: Any) -> Any:
    """Add `scale * value` to a variable, in one sweep over memory."""
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=variable.handle,
        alpha=tf.cast(-scale, variable.dtype),
        delta=tf.cast(value, variable.dtype),
    )


def read(variable: Any) -> Any:
    """Return the value of a variable, inside a replica that of its own copy."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.as_dtype(variable.dtype))


def rows_of(variable: Any, indices: Any) -> Any:
    """Return rows `indices` [M] of a stacked variable [K, *shape]; an index [] gives one row."""
    single = indices.shape.num_elements() == 1 and under_xla()
    gathered = tf.concat([tf.reshape(indices, [1])] * 2, axis=0) if single else indices
    rows = tf.raw_ops.ResourceGather(
        resource=variable.handle, indices=gathered, dtype=tf.as_dtype(variable.dtype)
    )
    if single:  # see `stacked_rows`
        rows = tf.reshape(rows[0], (*indices.shape, *variable.shape[1:]))
    rows.set_shape((*indices.shape, *variable.shape[1:]))
    return rows


def put_rows(variable: Any, indices: Any, rows: Any) -> Any:
    """Write `rows` [M, *shape] over rows `indices` [M] of a variable [K, *shape]; or one row.

    An index that occurs twice must come with the same row both times. Writing rows is a plain
    copy; adding to rows (`scatter_add`) took more than twice as long.
    """
    rows = tf.cast(rows, variable.dtype)
    if variable.dtype != "float32" and under_xla():
        return _put_rows_one_by_one(variable, tf.reshape(indices, [-1]), rows)
    return tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=indices, updates=rows)


def _put_rows_one_by_one(variable: Any, indices: Any, rows: Any) -> Any:
    """Write rows as `put_rows` does, one at a time, by what XLA does in place for any dtype."""
    rows = tf.reshape(rows, (*indices.shape, *variable.shape[1:]))
    stack = tf.TensorArray(
        rows.dtype, variable.shape[0], clear_after_read=False, element_shape=rows.shape[1:]
    ).unstack(read(variable))

    def write(i: Any, stack: Any) -> tuple[Any, Any]:
        return i + 1, stack.write(tf.gather(indices, i), tf.gather(rows, i))

    _, stack = tf.while_loop(lambda i, _: i < indices.shape[0], write, (0, stack))
    return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=stack.stack())


def under_xla() -> bool:
    """Return whether the caller is being traced into a function that XLA compiles.

    Why: TensorFlow has no public name for it; a function does not know its own `jit_compile`.
    """
    return bool(control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))


def after(previous: Any) -> Any:
    """Return a context whose operations start after one, if there is one.

    One variable after the other keeps the temporaries of a large model in the cache.
    """
    return tf.control_dependencies([] if previous is None else [previous])
