"""The data that a measurement runs over: arrays in memory, or a dataset that streams.

Both are visited in pieces, each of one cluster and of at most `chunk_size` examples. Arrays are
visited cluster by cluster; a dataset in its own order, its batches split by cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Piece(NamedTuple):
    """Examples of one cluster.

    Attributes:
        cluster: its number.
        x: inputs, `[b, ...]` or a structure of them.
        y: labels, likewise.
        sample_weight: weights, or None.
    """

    cluster: int
    x: Any
    y: Any
    sample_weight: Any


class ArrayExamples:
    """Examples in memory.

    Args:
        x: inputs, an array `[N, ...]` or a structure of them.
        y: labels, likewise.
        sample_weight: weights `[N]`, or None.

    Raises:
        ValueError: no example, or arrays of different lengths.
    """

    def __init__(self, x: Any, y: Any, sample_weight: Any = None):
        self._data = tf.nest.map_structure(_as_array, (x, y, sample_weight))
        lengths = {
            name: [len(leaf) if leaf.ndim else 0 for leaf in _leaves(part)]
            for name, part in zip(("x", "y", "sample_weight"), self._data, strict=True)
        }
        found = sorted({length for values in lengths.values() for length in values})
        if found == [0]:
            raise ValueError("`x` must hold at least one example, it is empty.")
        if len(found) != 1:
            raise ValueError(
                "`x`, `y` and `sample_weight` must have the same number of examples along their "
                f"first axes. Received {lengths}."
            )
        self.count = found[0]

    def select(self, indices: np.ndarray) -> ArrayExamples:
        """These examples can be taken by their own numbers already: the data themselves."""
        return self

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """x, y and weights of the examples with these numbers."""
        return tf.nest.map_structure(
            lambda leaf: None if leaf is None else leaf[indices], self._data
        )

    def pieces(
        self, chosen: Sequence[np.ndarray] | None, assignments: np.ndarray | None, chunk_size: int
    ) -> Iterator[Piece]:
        """All examples, or the chosen ones, of one cluster after the other.

        Args:
            chosen: for each cluster the numbers of its examples; None: all of them.
            assignments: cluster of each example; None: one cluster.
            chunk_size: the most examples in a piece.
        """
        for cluster, members in enumerate(chosen or members_of(assignments, self.count)):
            for start in range(0, len(members), chunk_size):
                yield Piece(cluster, *self.take(members[start : start + chunk_size]))


class StreamedExamples:
    """Examples of a finite `tf.data.Dataset` of batches, in the same order at every reading.

    Args:
        dataset: yields `(x, y)` or `(x, y, sample_weight)`.

    Raises:
        ValueError: an endless dataset, or elements of another form.
    """

    def __init__(self, dataset: tf.data.Dataset):
        if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "`x` must be a finite dataset, it repeats without end. Measure on "
                "`dataset.take(number_of_batches)`, before any `repeat()`."
            )
        spec = dataset.element_spec
        if not isinstance(spec, tuple) or len(spec) not in (2, 3):
            raise ValueError(
                "`x` must be a dataset of batches (x, y) or (x, y, sample_weight). Received "
                f"elements {spec}. Map it to such tuples."
            )
        self._dataset = dataset
        self._count: int | None = None

    @property
    def count(self) -> int:
        """N; the first call reads the data once."""
        if self._count is None:
            self._count = sum(_length(batch) for _, batch in self._batches())
        if not self._count:
            raise ValueError("`x` must hold at least one example, the dataset is empty.")
        return self._count

    def select(self, indices: np.ndarray) -> ArrayExamples:
        """Load the examples with these numbers; they keep their numbers."""
        wanted = np.unique(indices)
        rows = []
        for start, batch in self._batches():
            first, last = np.searchsorted(wanted, (start, start + _length(batch)))
            if last > first:
                rows.append(_rows(batch, wanted[first:last] - start))
        joined = tf.nest.map_structure(
            lambda *parts: None if parts[0] is None else np.concatenate(parts), *rows
        )
        return _LoadedExamples(wanted, *joined)

    def pieces(
        self, chosen: Sequence[np.ndarray] | None, assignments: np.ndarray | None, chunk_size: int
    ) -> Iterator[Piece]:
        """All examples in the order of the dataset, or the chosen ones cluster by cluster."""
        if chosen is not None:
            loaded = self.select(np.concatenate(chosen))
            yield from loaded.pieces(chosen, None, chunk_size)
            return
        for start, batch in self._batches():
            size = _length(batch)
            ids = None if assignments is None else assignments[start : start + size]
            if ids is not None and len(ids) < size:
                break  # too few assignments: the caller compares the counts
            for cluster, members in enumerate(members_of(ids, size)):
                for begin in range(0, len(members), chunk_size):
                    yield Piece(cluster, *_rows(batch, members[begin : begin + chunk_size]))

    def _batches(self) -> Iterator[tuple[int, Any]]:
        start = 0
        for element in self._dataset.as_numpy_iterator():
            batch = element if len(element) == 3 else (*element, None)
            yield start, batch
            start += _length(batch)


class _LoadedExamples(ArrayExamples):
    """Some examples of a dataset, by their numbers in it."""

    def __init__(self, numbers: np.ndarray, x: Any, y: Any, sample_weight: Any):
        super().__init__(x, y, sample_weight)
        self._numbers = numbers

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        return super().take(np.searchsorted(self._numbers, indices))


Examples = ArrayExamples | StreamedExamples


def as_examples(x: Any, y: Any, sample_weight: Any) -> Examples:
    """The data of a measurement from what the user passed.

    Raises:
        ValueError: a dataset together with `y` or `sample_weight`, or bad data.
    """
    if not isinstance(x, tf.data.Dataset):
        return ArrayExamples(x, y, sample_weight)
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be None where `x` is a dataset: its elements are "
            "(x, y) or (x, y, sample_weight)."
        )
    return StreamedExamples(x)


def members_of(assignments: np.ndarray | None, count: int) -> list[np.ndarray]:
    """The indices of each cluster's members, ascending; all of them for None."""
    if assignments is None:
        return [np.arange(count)]
    order = np.argsort(assignments, kind="stable")
    sizes = np.bincount(assignments)
    return np.split(order, np.cumsum(sizes)[:-1])


def _as_array(leaf: Any) -> Any:
    return None if leaf is None else np.asarray(leaf)


def _leaves(part: Any) -> list[Any]:
    return [leaf for leaf in tf.nest.flatten(part) if leaf is not None]


def _length(batch: Any) -> int:
    return len(_leaves(batch)[0])


def _rows(batch: Any, indices: np.ndarray) -> Any:
    return tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[indices], batch)
