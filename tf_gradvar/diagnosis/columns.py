"""Columns of metadata as groupings: each example's source, device, user, day, age and so on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_gradvar.assignments import check_assignments, sizes_of

# Numbers of more different values than this are cut into as many ranges as `RANGES`.
MOST_VALUES = 50
RANGES = 10
# More groups than this share of the examples would hold hardly more than one example each.
MOST_GROUPS = 0.1


@dataclass(frozen=True)
class Grouping:
    """A way to divide the examples into groups.

    Attributes:
        name: What it is called.
        assignments: The group of each example, int64 `[N]`, from 0 up without gaps.
        code: Python that makes it, from `y` or `metadata`.
    """

    name: str
    assignments: np.ndarray
    code: str

    @property
    def count(self) -> int:
        """K."""
        return int(self.assignments.max()) + 1


def read_columns(metadata: Any, count: int) -> dict[str, np.ndarray]:
    """Return the columns of a table by their names.

    Args:
        metadata: A mapping of columns, a pandas DataFrame, or None.
        count: N, the examples.

    Raises:
        ValueError: No such table, columns of another length or of several axes.

    Example:
        >>> read_columns({"source": ["a", "b"]}, 2)
        {'source': array(['a', 'b'], dtype='<U1')}
    """
    if metadata is None:
        return {}
    if hasattr(metadata, "columns") and hasattr(metadata, "iloc"):
        metadata = {str(name): metadata[name].to_numpy() for name in metadata.columns}
    if not isinstance(metadata, Mapping):
        raise ValueError(
            "`metadata` must be a dict of columns, name -> [N] values, or a pandas DataFrame. "
            f"Received: {type(metadata).__name__}."
        )
    columns = {str(name): np.asarray(values) for name, values in metadata.items()}
    for name, values in columns.items():
        if values.shape != (count,):
            raise ValueError(
                f"`metadata` must have one value for each of the {count} examples in every "
                f"column. Received: shape={values.shape} for the column {name!r}. Keep the rows "
                "in the order of the examples, and drop those of others."
            )
    return columns


def grouping_of_column(name: str, values: np.ndarray) -> Grouping | str:
    """Return the groups of a column's values, or a sentence on why there are none.

    Numbers of more than 50 different values are cut into ten ranges of equal numbers of examples.
    """
    source = f"metadata[{name!r}]"
    if values.dtype.kind == "f" or (values.dtype.kind in "iu" and _many(values)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"The column {name!r} has missing or infinite numbers, and makes no groups."
        edges = np.quantile(values, np.arange(1, RANGES) / RANGES)
        code = (
            f"numpy.digitize({source}, numpy.quantile({source}, "
            f"numpy.arange(1, {RANGES}) / {RANGES}))"
        )
        assignments = check_assignments(np.digitize(values, edges))
    else:
        texts = values if values.dtype.kind in "biuUS" else np.array([str(v) for v in values])
        code = f"numpy.asarray({source}).astype(str)"
        assignments = check_assignments(texts.astype(str))
    return usable(Grouping(name, assignments, code))


def grouping_of_labels(labels: np.ndarray, code: str) -> Grouping | str:
    """Return the classes as groups, or a sentence on why there are none."""
    return usable(Grouping("label", check_assignments(labels), code))


def usable(grouping: Grouping) -> Grouping | str:
    """Return a grouping that can have a use, or a sentence on why it has none."""
    count, total = grouping.count, len(grouping.assignments)
    if count < 2:
        return f"All examples have the same {grouping.name!r}: there is nothing to compare."
    if count > MOST_GROUPS * total and sizes_of(grouping.assignments).min() < 2:
        return (
            f"The column {grouping.name!r} has {count:,} different values for {total:,} examples, "
            "too many to make groups of them."
        )
    return grouping


def _many(values: np.ndarray) -> bool:
    return len(set(values.tolist())) > MOST_VALUES
