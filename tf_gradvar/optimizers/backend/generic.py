"""The backend functions in `keras.ops` alone; JAX compiles them into in-place updates."""

import contextlib

from keras import ops

from tf_gradvar.keras_internals import in_stateless_scope


def dense(gradient):
    """Return a gradient as a tensor without sparse storage (or None)."""
    return None if gradient is None else ops.convert_to_tensor(gradient, sparse=False)


def gather_rows(variable, indices):
    """Return rows `indices` [M] of a stacked variable [K, *shape]; an index [] gives one row."""
    return ops.take(variable, indices, axis=0)


def put_rows(variable, indices, rows):
    """Write `rows` [M, *shape] over rows `indices` [M] of a variable [K, *shape]; or one row.

    An index that occurs twice must come with the same row both times.
    """
    rows = ops.reshape(ops.cast(rows, variable.dtype), (-1, *variable.shape[1:]))
    variable.assign(ops.scatter_update(variable, ops.reshape(indices, (-1, 1)), rows))


def add_scaled(variable, scale, value):
    """Add `scale * value` to a variable."""
    variable.assign(variable + ops.cast(scale, variable.dtype) * ops.cast(value, variable.dtype))


def move_towards(variable, weight, value):
    """Add `weight * (value - variable)` to a variable."""
    value = ops.cast(value, variable.dtype)
    variable.assign(variable + ops.cast(weight, variable.dtype) * (value - variable))


def step_with_momentum(variable, momentum, decay, gradient, learning_rate):
    """Set momentum to `decay * momentum + gradient`, then take `learning_rate` times it off."""
    momentum.assign(ops.cast(decay, variable.dtype) * momentum + ops.cast(gradient, variable.dtype))
    add_scaled(variable, -ops.cast(learning_rate, variable.dtype), momentum)


def copy_if(condition, sources, targets):
    """Assign each source variable to its target where a scalar condition holds."""
    for source, target in zip(sources, targets, strict=True):
        kept, held = ops.convert_to_tensor(target), ops.convert_to_tensor(source)
        target.assign(ops.where(condition, held, kept))


def num_replicas():
    """Return 1: `tf.distribute` exists on TensorFlow only."""
    return 1


def on_all_replicas(tensors):
    """Return the tensors: one replica holds everything."""
    return tensors


def sum_over_replicas(tensors):
    """Return the tensors: one replica holds everything."""
    return tensors


def in_order(previous):
    """Return a context that changes nothing: the compiler orders the work."""
    del previous
    return contextlib.nullcontext()


def in_graph():
    """Return whether the caller is part of a function without state, as compiled ones are."""
    return in_stateless_scope()


def compiled(function):
    """Return the function itself."""
    return function
