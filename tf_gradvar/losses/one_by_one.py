"""A function of one example after the other, in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def map_examples(function: Callable[[list[Any]], Any], tensors: list[Any], dtype: str) -> tf.Tensor:
    """Return what a function gives for each example, `[B]`.

    (`keras.ops.map` would run the function once more, to find out what it returns.)

    Args:
        function: Of the slices of the tensors, to a scalar.
        tensors: With the examples along axis 0.
        dtype: Of the result.
    """
    return tf.map_fn(function, tensors, fn_output_signature=tf.TensorSpec([], dtype))
