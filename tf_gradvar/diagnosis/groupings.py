"""Groupings of all the examples that batches could be drawn by: the classes, and each column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tf_gradvar.assignments import check_assignments, sizes_of
from tf_gradvar.data.arrays import as_arrays
from tf_gradvar.data.examples import ArrayExamples, Examples
from tf_gradvar.diagnosis.class_labels import class_labels
from tf_gradvar.diagnosis.columns import as_column

CLASS = "class"
# More groups than this share of the examples hold hardly more than one example each.
MOST_GROUPS = 0.1


@dataclass(frozen=True)
class Grouping:
    """A way to divide the examples into groups.

    Attributes:
        name: Of the column, or "class".
        assignments: The group of each example, int64 `[N]`, from 0 up without gaps.
        code: Python that gives it, from the user's `y` or from the report.
    """

    name: str
    assignments: np.ndarray
    code: str

    @property
    def count(self) -> int:
        """K."""
        return int(self.assignments.max()) + 1


def groupings_of(
    labels: np.ndarray | None, y: Any, columns: Mapping[str, np.ndarray]
) -> tuple[list[Grouping], list[str]]:
    """Return the groupings that can have a use, and sentences on those that have none.

    Args:
        labels: Classes of all examples, `[N]`; None where there are none.
        y: The targets that they were read off.
        columns: Of the metadata, `[N]` each.
    """
    given = []
    if labels is not None:
        given.append(Grouping(CLASS, check_assignments(labels), _code(y)))
    for name, values in columns.items():
        ids = check_assignments(as_column(name, values).ids)
        given.append(Grouping(name, ids, f"report.groups[{name!r}]"))
    reasons = [(grouping, _useless(grouping)) for grouping in given]
    useful = [grouping for grouping, reason in reasons if reason is None]
    notes = [reason for _, reason in reasons if reason is not None]
    if labels is None:
        notes.insert(0, "The targets are no classes, so there are no groups by class.")
    return useful, notes


def labels_of(examples: Examples, y: Any, model: keras.Model) -> tuple[np.ndarray | None, Any]:
    """Return the classes of all examples or None, and the targets as one array or None.

    A dataset is read once more for them.
    """
    if isinstance(examples, ArrayExamples):
        targets = as_arrays(y, "y")
    else:
        parts = [piece.y for piece in examples.pieces(None, None, 4096)]
        small = all(isinstance(part, np.ndarray) and part.ndim <= 2 for part in parts)
        targets = np.concatenate(parts) if small else None
    if not isinstance(targets, np.ndarray):
        return None, None
    shape = getattr(model, "output_shape", None)
    return class_labels(targets, shape if isinstance(shape, tuple) else None), targets


def _code(y: np.ndarray) -> str:
    if y.ndim == 2 and y.shape[1] > 1:
        return "numpy.argmax(y, axis=-1)"
    return "numpy.ravel(y)" if y.dtype.kind in "biu" else "numpy.ravel(y).astype(int)"


def _useless(grouping: Grouping) -> str | None:
    count, total = grouping.count, len(grouping.assignments)
    if count < 2:
        return (
            f"All examples have the same {grouping.name}: there is nothing to compare, and nothing "
            "to draw batches by."
        )
    if count > MOST_GROUPS * total and sizes_of(grouping.assignments).min() < 2:
        return (
            f"The column {grouping.name!r} has {count:,} groups for {total:,} examples, too many "
            "to draw batches by."
        )
    return None
