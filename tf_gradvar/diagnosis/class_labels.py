"""Class labels and predicted classes, read off the targets and the outputs of a classifier.

The targets of a classifier come in three forms:

    numbers of classes   `[N]` or `[N, 1]` whole numbers, outputs `[N, C]`, C > 1
    one row an example   `[N, C]`, not negative, each row with sum 1: the class is its largest entry
    yes or no            `[N]` or `[N, 1]` zeros and ones, outputs `[N]` or `[N, 1]`

Anything else (a regression, several outputs, a label for each position) has no class labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Rows of probabilities sum to 1 in float32, up to this much.
_ROUNDING = 1e-3


def class_labels(y: Any, output_shape: Sequence[int | None] | None) -> np.ndarray | None:
    """Return the class of each example, or None where the targets are no classes.

    Args:
        y: Targets, an array `[N, ...]`; anything else has no classes.
        output_shape: Shape of the model's output, the axis of examples included; None for
            several outputs.

    Returns:
        Int64 `[N]`, or None.

    Example:
        >>> import numpy as np
        >>> class_labels(np.array([[2], [0]]), (None, 3))
        array([2, 0])
        >>> class_labels(np.float32([[0, 0, 1], [1, 0, 0]]), (None, 3))
        array([2, 0])
        >>> class_labels(np.float32([[0.4], [1.7]]), (None, 1)) is None
        True
    """
    if not isinstance(y, np.ndarray) or output_shape is None or y.dtype.kind not in "biuf":
        return None
    if len(output_shape) > 2 or y.ndim not in (1, 2):
        return None
    outputs = 1 if len(output_shape) == 1 else output_shape[-1]
    if y.ndim == 1 or y.shape[1] == 1:
        numbers = y.reshape(len(y))
        return numbers.astype(np.int64) if _are_classes(numbers, outputs) else None
    rows_are_shares = (y >= 0).all() and bool(np.all(abs(y.sum(axis=1) - 1) < _ROUNDING))
    return y.argmax(axis=1) if y.shape[1] == outputs and rows_are_shares else None


def predicted_classes(outputs: np.ndarray, threshold: float) -> np.ndarray:
    """Return the class that a classifier's outputs name.

    Args:
        outputs: `[N, C]`, or `[N]` and `[N, 1]` of a classifier between no and yes.
        threshold: Of a single output: what lies above it is yes.

    Returns:
        Int64 `[N]`.

    Example:
        >>> import numpy as np
        >>> predicted_classes(np.float32([[0.1, 0.9], [0.8, 0.2]]), 0.5)
        array([1, 0])
        >>> predicted_classes(np.float32([[-3.0], [2.0]]), 0.0)
        array([0, 1])
    """
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    return (outputs.reshape(len(outputs)) > threshold).astype(np.int64)


def yes_threshold(loss: Any) -> float:
    """Return the output above which a classifier with one output says yes.

    Args:
        loss: A Keras loss or anything else; 0 is the threshold of logits, 0.5 of probabilities.
    """
    config = loss.get_config() if hasattr(loss, "get_config") else {}
    return 0.0 if config.get("from_logits") else 0.5


def _are_classes(numbers: np.ndarray, outputs: int | None) -> bool:
    whole = numbers.dtype.kind in "biu" or bool((numbers == np.floor(numbers)).all())
    if not whole or numbers.min() < 0 or outputs is None:
        return False
    return bool(numbers.max() < max(outputs, 2))
