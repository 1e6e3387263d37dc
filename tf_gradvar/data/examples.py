"""The data that a measurement runs over: arrays in memory, or a dataset that streams.

Both are visited in pieces, each of one cluster and of at most `chunk_size` examples. Arrays are
visited cluster by cluster; a dataset in its own order, its batches split by cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_gradvar.assignments import members_of
from tf_gradvar.data.arrays import as_arrays, is_tf_dataset, refuse_another_order
from tf_gradvar.data.fingerprint import Fingerprint, fingerprint

# What `tf.data` says of a dataset without end.
_INFINITE = -1


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
        given = {"x": x, "y": y, "sample_weight": sample_weight}
        self._data = tuple(as_arrays(part, name) for name, part in given.items())
        lengths = {
            name: [len(leaf) if leaf.ndim else 0 for leaf in _leaves(part)]
            for name, part in zip(("x", "y", "sample_weight"), self._data, strict=True)
        }
        found = sorted({length for values in lengths.values() for length in values})
        if found == [0]:
            raise ValueError("`x` must hold at least one example. Received: no example.")
        if len(found) != 1:
            raise ValueError(
                "`x`, `y` and `sample_weight` must have the same number of examples along their "
                f"first axes. Received: lengths={lengths}."
            )
        self.count = found[0]

    @property
    def fingerprint(self) -> str:
        """The hash of x and y, in their order."""
        return fingerprint(*self._data[:2])

    def select(self, indices: np.ndarray) -> ArrayExamples:
        """Return the data themselves: arrays can be taken from by number already."""
        return self

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        """Return x, y and weights of the examples with these numbers."""
        return keras.tree.map_structure(
            lambda leaf: None if leaf is None else leaf[indices], self._data
        )

    def pieces(
        self,
        chosen: Sequence[np.ndarray] | None,
        assignments: np.ndarray | None,
        chunk_size: int,
        *,
        ordered: bool = False,
    ) -> Iterator[Piece]:
        """Yield all examples, or the chosen ones, of one cluster after the other.

        Args:
            chosen: for each cluster the numbers of its examples; None: all of them.
            assignments: cluster of each example; None: one cluster.
            chunk_size: the most examples in a piece.
            ordered: whether their order must be that of other readings, as that of arrays is.
        """
        for cluster, members in enumerate(chosen or members_of(assignments, self.count)):
            for start in range(0, len(members), chunk_size):
                yield Piece(cluster, *self.take(members[start : start + chunk_size]))


class StreamedExamples:
    """Examples of a finite dataset of batches, which is read again and again.

    Where examples are known by their places (assignments, chosen ones), the dataset must yield the
    same examples in the same order at every reading: their hashes are compared.

    Args:
        dataset: A `tf.data.Dataset` or a `keras.utils.PyDataset` of batches (x, y) or
            (x, y, sample_weight).

    Raises:
        ValueError: an endless dataset, or elements of another form.
    """

    def __init__(self, dataset: Any):
        self._elements = (
            _of_tf_dataset(dataset) if is_tf_dataset(dataset) else _of_py_dataset(dataset)
        )
        self._known: tuple[int, str] | None = None

    @property
    def count(self) -> int:
        """N; the first call reads the data once."""
        return self._first_reading()[0]

    @property
    def fingerprint(self) -> str:
        """The hash of x and y in their order; the first call reads the data once."""
        return self._first_reading()[1]

    def _first_reading(self) -> tuple[int, str]:
        if self._known is None:
            seen = Fingerprint()
            for _, batch in self._batches(ordered=False):
                seen.add(batch[:2])
            self._known = (seen.count, seen.digest())
        return self._known

    def select(self, indices: np.ndarray) -> ArrayExamples:
        """Return the examples with these numbers, in memory; they keep their numbers."""
        wanted = np.unique(indices)
        rows = []
        for start, batch in self._batches(ordered=True):
            first, last = np.searchsorted(wanted, (start, start + _length(batch)))
            if last > first:
                rows.append(_rows(batch, wanted[first:last] - start))
        joined = keras.tree.map_structure(
            lambda *parts: None if parts[0] is None else np.concatenate(parts), *rows
        )
        return _LoadedExamples(wanted, *joined)

    def pieces(
        self,
        chosen: Sequence[np.ndarray] | None,
        assignments: np.ndarray | None,
        chunk_size: int,
        *,
        ordered: bool = False,
    ) -> Iterator[Piece]:
        """Yield all examples in the order of the dataset, or the chosen ones cluster by cluster.

        Raises:
            ValueError: at the end, another order than at the first reading, where it matters.
        """
        if chosen is not None:
            loaded = self.select(np.concatenate(chosen))
            yield from loaded.pieces(chosen, None, chunk_size)
            return
        for start, batch in self._batches(ordered or assignments is not None):
            size = _length(batch)
            ids = None if assignments is None else assignments[start : start + size]
            if ids is not None and len(ids) < size:
                break  # too few assignments: the caller compares the counts
            for cluster, members in enumerate(members_of(ids, size)):
                for begin in range(0, len(members), chunk_size):
                    yield Piece(cluster, *_rows(batch, members[begin : begin + chunk_size]))

    def _batches(self, ordered: bool) -> Iterator[tuple[int, Any]]:
        """Yield the number of the first example of each batch, and the batch."""
        before = self.fingerprint if ordered else ""
        start, seen = 0, Fingerprint()
        for batch in self._elements():
            yield start, batch
            start += _length(batch)
            if ordered:
                seen.add(batch[:2])
        if not start:
            raise ValueError("`x` must hold at least one example. Received: an empty dataset.")
        if ordered:
            refuse_another_order("x", before, seen.digest())


def _of_tf_dataset(dataset: Any) -> Callable[[], Iterator[tuple[Any, Any, Any]]]:
    """Return a function that reads the batches (x, y, sample_weight or None)."""
    if int(dataset.cardinality()) == _INFINITE:
        raise ValueError(
            "`x` must be a finite dataset: measure on `dataset.take(number_of_batches)`, before "
            "any `repeat()`. Received: a dataset that repeats without end."
        )
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise ValueError(
            "`x` must be a dataset of batches (x, y) or (x, y, sample_weight): map it to such "
            f"tuples. Received: element_spec={spec}."
        )
    return lambda: (_with_weights(batch) for batch in dataset.as_numpy_iterator())


def _of_py_dataset(
    dataset: keras.utils.PyDataset,
) -> Callable[[], Iterator[tuple[Any, Any, Any]]]:
    """Return the same of a `PyDataset`, whose batches are read in order, in this thread."""
    if dataset.num_batches is None:
        raise ValueError(
            "`x` must be a finite `PyDataset`, one with a `__len__`. Received: num_batches=None."
        )

    def read() -> Iterator[tuple[Any, Any, Any]]:
        for index in range(dataset.num_batches):
            batch = dataset[index]
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise ValueError(
                    "`x` must be a PyDataset of batches (x, y) or (x, y, sample_weight). Received: "
                    f"{type(batch).__name__} for batch {index}."
                )
            yield _with_weights([as_arrays(part, "x") for part in batch])

    return read


def _with_weights(batch: Sequence[Any]) -> tuple[Any, Any, Any]:
    return (batch[0], batch[1], batch[2] if len(batch) == 3 else None)


class _LoadedExamples(ArrayExamples):
    """Some examples of a dataset, by their numbers in it."""

    def __init__(self, numbers: np.ndarray, x: Any, y: Any, sample_weight: Any):
        super().__init__(x, y, sample_weight)
        self._numbers = numbers

    def take(self, indices: np.ndarray) -> tuple[Any, Any, Any]:
        return super().take(np.searchsorted(self._numbers, indices))


Examples = ArrayExamples | StreamedExamples


def as_examples(x: Any, y: Any, sample_weight: Any) -> Examples:
    """Return the data of a measurement from what the user passed.

    Args:
        x: Arrays, or a structure of them (see `tf_gradvar.data.arrays`); or a finite
            `tf.data.Dataset` or `keras.utils.PyDataset` of batches.
        y: Labels, likewise; None for a dataset.
        sample_weight: Weights; None for a dataset.

    Raises:
        ValueError: a dataset together with `y` or `sample_weight`, a generator, or bad data.
    """
    if isinstance(x, Iterator):
        raise ValueError(
            "`x` must be data that can be read more than once: pass arrays, a "
            "`keras.utils.PyDataset`, or `tf.data.Dataset.from_generator(function, "
            "output_signature=...)` with the function that makes the generator. Received: a "
            f"{type(x).__name__}, which is used up after one reading."
        )
    if not (is_tf_dataset(x) or isinstance(x, keras.utils.PyDataset)):
        return ArrayExamples(x, y, sample_weight)
    if y is not None or sample_weight is not None:
        raise ValueError(
            "`y` and `sample_weight` must be None where `x` is a dataset: its elements are "
            "(x, y) or (x, y, sample_weight)."
        )
    return StreamedExamples(x)


def _leaves(part: Any) -> list[Any]:
    return [leaf for leaf in keras.tree.flatten(part) if leaf is not None]


def _length(batch: Any) -> int:
    return len(_leaves(batch)[0])


def _rows(batch: Any, indices: np.ndarray) -> Any:
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[indices], batch)
