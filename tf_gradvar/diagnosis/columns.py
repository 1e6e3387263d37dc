"""Columns of metadata as groups of examples.

A column with few different values names its groups by them. Numbers and dates that are nearly all
different are cut into bins at their quantiles. Missing values (None, NaN, NaT, an empty string)
are a group of their own, named `(missing)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

MISSING = "(missing)"
NUM_BINS = 10
# Numbers with at least this many different values, and fewer examples than this to each of them.
_MANY_VALUES = 20
_FEW_EXAMPLES = 5


@dataclass(frozen=True)
class Column:
    """The groups of one column.

    Attributes:
        name: Of the column.
        groups: Names of the G groups, in the order of their values, `(missing)` last.
        ids: The group of each example, int64 `[N]`.
        binned: Whether the groups are bins of numbers, by quantiles.
    """

    name: str
    groups: tuple[str, ...]
    ids: np.ndarray
    binned: bool = False

    @property
    def sizes(self) -> np.ndarray:
        """N_k, int64 `[G]`."""
        return np.bincount(self.ids, minlength=len(self.groups))


def read_columns(metadata: Any, count: int) -> dict[str, np.ndarray]:
    """Return the columns of metadata by their names.

    Args:
        metadata: A mapping of names to columns, a pandas DataFrame, or a structured array; None
            has no columns.
        count: Examples in the data: the length of each column.

    Raises:
        ValueError: Metadata of another form, or a column of another length or with a second axis.

    Example:
        >>> read_columns({"day": ["mon", "tue"]}, 2)
        {'day': array(['mon', 'tue'], dtype=object)}
    """
    if metadata is None:
        return {}
    if isinstance(metadata, np.ndarray) and metadata.dtype.names:
        metadata = {name: metadata[name] for name in metadata.dtype.names}
    if not isinstance(metadata, Mapping) and not hasattr(metadata, "columns"):
        raise ValueError(
            "`metadata` must map names to columns: a dictionary of arrays or lists, or a pandas "
            f"DataFrame. Received: metadata of type {type(metadata).__name__}. Write "
            '`metadata={"source": column}`.'
        )
    names = list(getattr(metadata, "columns", metadata))
    return {str(name): _checked(name, metadata[name], count) for name in names}


def as_column(name: str, values: np.ndarray) -> Column:
    """Return the groups of a column.

    Args:
        name: Of the column.
        values: `[N]`.

    Example:
        >>> as_column("day", np.array(["tue", "mon", None, "tue"], object)).groups
        ('mon', 'tue', '(missing)')
        >>> as_column("age", np.arange(40.0)).groups[:2]
        ('0 to 3', '4 to 7')

    Cost: a sort of the N values.
    """
    missing = np.array([_is_missing(value) for value in values], bool)
    present, numeric = _of_one_kind(values[~missing])
    kinds, codes = np.unique(present, return_inverse=True)
    many = len(kinds) >= _MANY_VALUES and len(kinds) * _FEW_EXAMPLES > len(present)
    if numeric and many:
        names, codes = _bins(present)
    else:
        names = [str(kind) for kind in kinds.tolist()]
    ids = np.full(len(values), len(names), np.int64)
    ids[~missing] = codes.reshape(len(present))
    if missing.any():
        names.append(MISSING)
    return Column(name, tuple(names), ids, binned=bool(numeric and many))


def class_column(labels: np.ndarray) -> Column:
    """Return the classes as groups: one for each label, however few examples have it.

    Example:
        >>> class_column(np.array([7, 3, 7])).groups
        ('3', '7')
    """
    classes, ids = np.unique(labels, return_inverse=True)
    return Column("class", tuple(map(str, classes.tolist())), ids.reshape(len(labels)))


def _checked(name: Any, given: Any, count: int) -> np.ndarray:
    """Return a column as objects or numbers, or raise unless there is one entry an example."""
    array = np.asarray(_plain(given))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != count:
        raise ValueError(
            f"Each column of `metadata` must have one entry for each of the {count} examples, in "
            f"their order. Received: {name!r} of shape {array.shape}. Pass the rows of these "
            "examples alone."
        )
    return array


def _plain(given: Any) -> Any:
    """Return lists and pandas' own types as objects, so that each entry stays as it is."""
    if hasattr(given, "to_numpy") and not isinstance(getattr(given, "dtype", None), np.dtype):
        return given.to_numpy(object)
    if isinstance(given, list | tuple) and not any(np.ndim(entry) for entry in given):
        return np.array(given, object)
    return given


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str | bytes):
        return not value
    return bool(value != value)  # NaN and NaT


def _of_one_kind(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return numbers and dates as they are and all else as strings, and whether they are numbers.

    Yes and no are names, too.
    """
    if values.dtype.kind == "O":
        kinds = {type(value) for value in values}
        if kinds and all(issubclass(kind, int | float | np.number) for kind in kinds):
            values = np.array(values.tolist())
    if values.dtype.kind in "iufM":
        return values, True
    return np.array([_text(value) for value in values], str), False


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _bins(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return names and members of at most `NUM_BINS` bins with about as many values each."""
    ordered = np.sort(values)
    places = np.arange(1, NUM_BINS) * len(values) // NUM_BINS
    edges = np.unique(ordered[places])
    codes = np.searchsorted(edges, values, side="right")
    inside, codes = np.unique(codes, return_inverse=True)
    members = [values[codes == k] for k in range(len(inside))]
    return [f"{_short(m.min())} to {_short(m.max())}" for m in members], codes


def _short(value: Any) -> str:
    return f"{value:.4g}" if value.dtype.kind in "iuf" and abs(value) < 1e4 else str(value)
