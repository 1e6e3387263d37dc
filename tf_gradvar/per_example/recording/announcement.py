"""The one line that says which layers are measured by the fallback."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import keras

from tf_gradvar.per_example.rules.registry import Unit

logger = logging.getLogger("tf_gradvar.per_example")

_announced: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()
# Layers of one class that the announcement calls by their names.
_NAMED = 3


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
