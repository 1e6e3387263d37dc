"""Data as tensors, and other weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf

# Values to use instead of those of the variables.
State: TypeAlias = Sequence[tuple[keras.Variable, Any]]


@dataclass(frozen=True)
class Batch:
    """Inputs, labels and weights; every tensor has a leading example axis."""

    x: Any
    y: Any
    sample_weight: Any

    def structure(self) -> tuple[Any, Any, Any]:
        """The three as a structure that `tf.nest` flattens."""
        return self.x, self.y, self.sample_weight

    def rows(self, rows: Any) -> Batch:
        """Some of the examples, in the given order."""
        return self.map(lambda leaf: tf.gather(leaf, rows))

    def map(self, function: Callable[[tf.Tensor], Any]) -> Batch:
        """A batch of what the function makes of each tensor."""
        return Batch(
            *tf.nest.map_structure(
                lambda leaf: function(leaf) if tf.is_tensor(leaf) else leaf, self.structure()
            )
        )


def as_batch(x: Any, y: Any, sample_weight: Any) -> Batch:
    """Convert to tensors and compare the lengths.

    Raises:
        ValueError: If the batch is empty or lengths differ.
    """
    batch = Batch(_tensors(x), _tensors(y), _tensors(sample_weight))
    named = zip(("x", "y", "sample_weight"), batch.structure(), strict=True)
    lengths = {name: _lengths(value) for name, value in named}
    examples = lengths["x"][0]
    if examples == 0:
        raise ValueError("`x` must hold at least one example along its first axis, it is empty.")
    for name, found in lengths.items():
        if any(None not in (length, examples) and length != examples for length in found):
            raise ValueError(
                f"`{name}` must have one entry for each of the {examples} examples in `x` along "
                f"its first axis, received lengths {found}."
            )
    return batch


def state_of(name: str, model: keras.Model, weights: Sequence[Any] | None) -> State:
    """Pair given weights with the variables of the model.

    Args:
        name: Of the argument, for messages.
        model: A built model.
        weights: A list like `model.trainable_variables` or `model.weights`, or None.

    Returns:
        Pairs (variable, value); none for None.

    Raises:
        ValueError: If number or shapes fit neither.
    """
    if weights is None:
        return []
    for variables in (model.trainable_variables, model.weights):
        if len(weights) == len(variables):
            pairs = list(zip(variables, weights, strict=True))
            if all(tuple(v.shape) == tuple(w.shape) for v, w in pairs):
                return [(v, tf.convert_to_tensor(w, v.dtype)) for v, w in pairs]
    raise ValueError(
        f"`{name}` must hold one array for each of the {len(model.trainable_variables)} trainable "
        f"variables, or of the {len(model.weights)} weights, with their shapes; received the "
        f"shapes {[tuple(w.shape) for w in weights]}. `model.get_weights()` gives such a list."
    )


def is_float(value: Any) -> bool:
    """Whether a value is a floating-point tensor."""
    return tf.is_tensor(value) and value.dtype.is_floating


def at_least_float32(tensor: Any) -> Any:
    """Half precision becomes float32; IndexedSlices become dense; the rest stays."""
    if tensor is None:
        return None
    tensor = tf.convert_to_tensor(tensor)
    return tf.cast(tensor, tf.float32) if is_float(tensor) and tensor.dtype.size < 4 else tensor


def tensors_in(structure: Any) -> list[tf.Tensor]:
    """The tensors in a structure, in order."""
    return [leaf for leaf in keras.tree.flatten(structure) if tf.is_tensor(leaf)]


def _tensors(value: Any) -> Any:
    """Arrays and lists of numbers become tensors; lists and dictionaries of arrays stay."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _tensors(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and _holds_arrays(value):
        return type(value)(_tensors(entry) for entry in value)
    return tf.convert_to_tensor(value)


def _holds_arrays(value: Any) -> bool:
    return any(leaf is None or len(getattr(leaf, "shape", ())) for leaf in tf.nest.flatten(value))


def _lengths(value: Any) -> list[int | None]:
    """Lengths of the first axis of every tensor, 0 for a scalar."""
    return [tensor.shape[0] if tensor.shape.rank else 0 for tensor in tensors_in(value)]
