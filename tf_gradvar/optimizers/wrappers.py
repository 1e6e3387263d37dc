"""Optimizers within optimizers: Keras wraps one for loss scaling, `DiscoverOver` for its step."""


def innermost(optimizer):
    """Return the optimizer that takes the step, inside any wrappers.

    Args:
        optimizer: A Keras optimizer.
    """
    *_, last = _with_wrapped(optimizer)
    return last


def find_optimizer(optimizer, kind):
    """Return the optimizer of a class among an optimizer and what it wraps, or None.

    Args:
        optimizer: A Keras optimizer, or None.
        kind: The class.
    """
    return next((o for o in _with_wrapped(optimizer) if isinstance(o, kind)), None)


def _with_wrapped(optimizer):
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)
