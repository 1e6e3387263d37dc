"""The backend functions on TensorFlow: in-place rows and replicas.

Reads and writes go through `variable.handle`, which inside a replica is the handle of that
replica's own copy. Every replica computes the same new value from the same gathered
gradients, so each writes its own copy and nothing is reduced a second time.
"""

import tensorflow as tf


def dense(gradient):
    """Return a gradient as a tensor: an embedding gives rows and their indices (or None)."""
    return None if gradient is None else tf.convert_to_tensor(gradient)


def gather_rows(variable, indices):
    """Return rows `indices` [M] of a stacked variable [K, *shape]; an index [] gives one row."""
    rows = tf.raw_ops.ResourceGather(
        resource=variable.handle, indices=indices, dtype=tf.as_dtype(variable.dtype)
    )
    return tf.ensure_shape(rows, (*indices.shape, *variable.shape[1:]))


def put_rows(variable, indices, rows):
    """Write `rows` [M, *shape] over rows `indices` [M] of a variable [K, *shape]; or one row.

    An index that occurs twice must come with the same row both times. Writing rows is a
    plain copy; adding to rows (`scatter_add`) took more than twice as long.
    """
    return tf.raw_ops.ResourceScatterUpdate(
        resource=variable.handle, indices=indices, updates=tf.cast(rows, variable.dtype)
    )


def add_scaled(variable, scale, value):
    """Add `scale * value` to a variable, in one sweep over memory."""
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=variable.handle,
        alpha=tf.cast(-scale, variable.dtype),
        delta=tf.cast(value, variable.dtype),
    )


def _read(variable):
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=tf.as_dtype(variable.dtype))


def move_towards(variable, weight, value):
    """Add `weight * (value - variable)` to a variable, in place."""
    add_scaled(variable, -weight, _read(variable) - tf.cast(value, variable.dtype))


def step_with_momentum(variable, momentum, decay, gradient, learning_rate):
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


def copy_if(condition, sources, targets):
    """Assign each source variable to its target where a scalar condition holds."""

    def copy():
        for source, target in zip(sources, targets, strict=True):
            tf.raw_ops.AssignVariableOp(resource=target.handle, value=_read(source))
        return True

    tf.cond(condition, copy, lambda: False)


def num_replicas():
    """Return how many replicas run the code that calls this; 1 outside `strategy.run`."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def on_all_replicas(tensors):
    """Return each tensor [C, ...] of every replica, concatenated over axis 0."""
    return tf.distribute.get_replica_context().all_gather(list(tensors), axis=0)


def sum_over_replicas(tensors):
    """Return each tensor summed over the replicas."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))


def in_order(previous):
    """Return a context whose operations start after those in `previous`.

    One variable after the other keeps the temporaries of a large model in the cache.
    """
    return tf.control_dependencies([p for p in previous if p is not None])


def in_graph():
    """Return whether the caller is being traced into a graph."""
    return not tf.executing_eagerly()


def compiled(function):
    """Return a plain function that runs the given one as a `tf.function`.

    A `tf.function` as an attribute of an optimizer would end up in exported models.
    """
    graph_function = tf.function(function, autograph=False)
    return lambda: graph_function()
