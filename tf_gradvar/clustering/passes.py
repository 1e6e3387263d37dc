"""Passes over the data: what a clustering learns about N gradients without holding them.

A pass takes the examples in their order, in batches of one size (the last one is filled up and
cut again), so that each compiled function has one trace; only the true means of the clusters come
from batches of one cluster each, of a few sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.assignments import sizes_of
from tf_gradvar.data.examples import Examples
from tf_gradvar.data.fingerprint import Fingerprint
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example import (
    Factors,
    GradientForm,
    Recorder,
    Wanted,
    factor_products,
    form_products,
    full_products,
    mean_factors,
    variable_layers,
    weighted_sums,
)

# K gradients of one variable: factors of low rank, or `[K, numbers]`.
Centres = Any
_Tag = TypeVar("_Tag")


class Sketches(NamedTuple):
    """What the first pass finds.

    Attributes:
        vectors: Sketches of the gradients, float32 `[N, r]`.
        squared_norms: ||g_i||^2, float64 `[N]`.
        fingerprint: Of the data.
    """

    vectors: np.ndarray
    squared_norms: np.ndarray
    fingerprint: str


class GradientPasses:
    """Compiled passes over the gradients of some layers of a model.

    Args:
        model: A built `keras.Model`.
        loss: The loss.
        layers: Names of the layers to look at; None: all.
        batch_size: Examples in a batch.

    Raises:
        ValueError: If a layer is not found.
    """

    def __init__(
        self, model: keras.Model, loss: ModelLoss, layers: Sequence[str] | None, batch_size: int
    ):
        self._loss = loss
        self._trained = [id(variable) for variable in model.trainable_variables]
        self._recorder = Recorder(model, loss)
        self._chosen = _chosen_variables(variable_layers(model), layers)
        self._batch_size = batch_size
        self._compiled: dict[Any, Any] = {}

    def serve(self, loss: ModelLoss) -> bool:
        """Return whether a loss, its model and what is trained are those of these passes."""
        same = loss.model is self._loss.model and loss.has(self._loss.loss, self._loss.loss_weights)
        return same and self._trained == [id(v) for v in loss.model.trainable_variables]

    def sketches(self, examples: Examples, size: int, seed: int) -> Sketches:
        """Norms and sketches of all gradients: one forward and backward pass over the data."""
        maps = self._recorder.projections(size, seed)

        def sketch(x: Any, y: Any, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor]:
            measured = [
                form.measure(Wanted(squared_norms=True, projection=maps[index]))
                for index, form in self._forms(x, y, sample_weight)
            ]
            norms = [m.squared_norms for m in measured]
            return tf.add_n(norms), tf.add_n([m.sketch for m in measured])

        data = Fingerprint()
        all_norms = np.empty(examples.count)
        all_vectors = np.empty((examples.count, size), np.float32)
        start = 0
        batches = self._batches(examples, data=data)
        for count, (norms, vectors) in self._run(("sketch", size, seed), sketch, batches):
            all_norms[start : start + count] = norms[:count]
            all_vectors[start : start + count] = vectors[:count]
            start += count
        return Sketches(all_vectors, all_norms, data.digest())

    def inner_products(self, examples: Examples) -> np.ndarray:
        """All <g_i, g_j>, float32 `[N, N]`: a pass over the data for every batch in it."""

        def products(x: Any, y: Any, w: Any, *others: Any) -> tf.Tensor:
            pairs = zip(self._forms(x, y, w), self._forms(*others), strict=True)
            return tf.add_n([form_products(form, other) for (_, form), (_, other) in pairs])

        batches = list(self._batches(examples))
        starts = np.cumsum([0] + [count for count, _ in batches])
        result = np.empty((starts[-1], starts[-1]), np.float32)
        for i, (rows, mine) in enumerate(batches):
            pairs = [(columns, (*mine, *theirs)) for columns, theirs in batches[i:]]
            for j, (columns, block) in enumerate(self._run("products", products, pairs), start=i):
                part = block[:rows, :columns].numpy()
                result[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = part
                result[starts[j] : starts[j + 1], starts[i] : starts[i + 1]] = part.T
        return result

    def mean_factors(
        self, examples: Examples, assignments: np.ndarray, num_clusters: int
    ) -> list[Centres]:
        """Centres as the paper makes them: mean input times mean output gradient (Eq. 6).

        Forms that are no sums of outer products (biases, scales) get their mean gradient.
        """

        def sums(x: Any, y: Any, w: Any, ids: tf.Tensor) -> list[Any]:
            members = tf.one_hot(ids, num_clusters)
            found = []
            for _, form in self._forms(x, y, w):
                factors = mean_factors(form)
                if factors is None:
                    found.append((weighted_sums(form, members),))
                else:
                    found.append(tuple(_sum_members(members, part) for part in factors))
            return found

        totals: list[tuple[np.ndarray, ...]] = []
        batches = self._batches(examples, assignments)
        for _, parts in self._run(("factors", num_clusters), sums, batches):
            arrays = [tuple(tensor.numpy() for tensor in part) for part in parts]
            totals = totals or [tuple(map(np.zeros_like, array)) for array in arrays]
            for total, array in zip(totals, arrays, strict=True):
                for t, a in zip(total, array, strict=True):
                    np.add(t, a, out=t)
        scale = _one_over_sizes(assignments, num_clusters)
        means = [tuple(_scaled(t, scale) for t in total) for total in totals]
        return [
            Factors(*(tf.constant(m[:, :, None]) for m in mean))
            if len(mean) == 2
            else tf.constant(mean[0].reshape(num_clusters, -1))
            for mean in means
        ]

    def means(
        self, examples: Examples, assignments: np.ndarray, num_clusters: int
    ) -> list[np.ndarray]:
        """True mean gradients of the clusters, `[K, rows, columns]` for every variable."""

        def sums(x: Any, y: Any, w: Any, members: tf.Tensor) -> list[tf.Tensor]:
            return [weighted_sums(form, members)[0] for _, form in self._forms(x, y, w)]

        totals: list[np.ndarray] = []
        batches = self._batches_of_clusters(examples, assignments, num_clusters)
        for cluster, parts in self._run("means", sums, batches):
            arrays = [part.numpy() for part in parts]
            totals = totals or [np.zeros((num_clusters, *a.shape), a.dtype) for a in arrays]
            for total, array in zip(totals, arrays, strict=True):
                total[cluster] += array
        scale = _one_over_sizes(assignments, num_clusters)
        return [_scaled(total, scale) for total in totals]

    def centre_products(self, examples: Examples, centres: Sequence[Centres]) -> np.ndarray:
        """<g_i, C_k>, float32 `[N, K]`: the A step's pass (Eq. 3)."""

        def products(x: Any, y: Any, w: Any, centres: Sequence[Centres]) -> tf.Tensor:
            pairs = zip(self._forms(x, y, w), centres, strict=True)
            return tf.add_n(
                [
                    factor_products(form, centre)
                    if isinstance(centre, Factors)
                    else full_products(form, centre)
                    for (_, form), centre in pairs
                ]
            )

        key = ("centres", tuple(type(centre).__name__ for centre in centres))
        batches = ((count, (*batch, list(centres))) for count, batch in self._batches(examples))
        found = [part[:count].numpy() for count, part in self._run(key, products, batches)]
        return np.concatenate(found)

    def _forms(self, x: Any, y: Any, sample_weight: Any) -> list[tuple[int, GradientForm]]:
        """The chosen variables' places and gradient forms for one batch."""
        forms, _ = self._recorder.forms(x, y, sample_weight)
        return [(index, forms[index]) for index in self._chosen]

    def _batches(
        self,
        examples: Examples,
        assignments: np.ndarray | None = None,
        data: Fingerprint | None = None,
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """The examples in batches of one size: how many count, and the tensors.

        The last batch is filled up with its last example, whose copies are in cluster -1.
        """
        start, size = 0, 0
        for piece in examples.pieces(None, None, self._batch_size, ordered=True):
            if data is not None:
                data.add((piece.x, piece.y))
            count = len(keras.tree.flatten(piece.x)[0])
            size = size or count
            for cut in range(0, count, size):
                rows = slice(cut, min(cut + size, count))
                arrays = [_filled(part, rows, size) for part in (piece.x, piece.y)]
                arrays.append(_filled(piece.sample_weight, rows, size))
                length = rows.stop - rows.start
                if not start:
                    self._recorder.check(*(_filled(a, rows, length) for a in piece[1:]))
                if assignments is not None:
                    ids = np.full(size, -1)
                    ids[:length] = assignments[start : start + length]
                    arrays.append(tf.constant(ids, tf.int32))
                start += length
                yield length, tuple(arrays)

    def _batches_of_clusters(
        self, examples: Examples, assignments: np.ndarray, num_clusters: int
    ) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Batches of one cluster each: its number, the tensors, and `[b, 1]`, 1 for its members.

        Filled up with copies of the last example to a power of four, so that few sizes compile.
        """
        in_any = np.where(assignments < 0, num_clusters, assignments)
        for piece in examples.pieces(None, in_any, self._batch_size):
            if piece.cluster == num_clusters:
                continue
            count = len(keras.tree.flatten(piece.x)[0])
            bits = (count - 1).bit_length()
            size = 1 << bits + bits % 2
            rows = slice(0, count)
            arrays = [_filled(part, rows, size) for part in (piece.x, piece.y, piece.sample_weight)]
            members = (np.arange(size) < count)[:, np.newaxis]
            yield piece.cluster, (*arrays, tf.constant(members, tf.float32))

    def _run(
        self,
        key: Any,
        function: Callable[..., Any],
        batches: Iterable[tuple[_Tag, tuple[Any, ...]]],
    ) -> Iterator[tuple[_Tag, Any]]:
        """Apply a function, compiled once for every key, to all batches; tags pass through."""
        compiled = self._compiled.setdefault(key, tf.function(function, autograph=False))
        for tag, batch in batches:
            yield tag, compiled(*batch)


def _one_over_sizes(assignments: np.ndarray, num_clusters: int) -> np.ndarray:
    return 1.0 / np.maximum(sizes_of(assignments, num_clusters), 1)


def _sum_members(members: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.matmul(tf.cast(members, values.dtype), values, transpose_a=True)


def _scaled(sums: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Multiply `[K, ...]` by `[K]` in place."""
    sums *= scale.reshape(-1, *[1] * (sums.ndim - 1)).astype(sums.dtype)
    return sums


def _filled(arrays: Any, rows: slice, size: int) -> Any:
    """Some rows as tensors, the last one repeated until there are `size` of them."""

    def fill(array: Any) -> Any:
        if array is None:
            return None
        part = array[rows]
        missing = size - len(part)
        if missing:
            part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
        return tf.convert_to_tensor(part)

    return keras.tree.map_structure(fill, arrays) if arrays is not None else None


def _chosen_variables(names: Sequence[str], layers: Sequence[str] | None) -> list[int]:
    """Places of the variables of the named layers, from the layer of each variable."""
    known = sorted(set(names), key=names.index)
    wanted = [layers] if isinstance(layers, str) else list(known if layers is None else layers)
    missing = [name for name in wanted if not any(_is_named(path, name) for path in known)]
    if missing or not wanted:
        raise ValueError(
            f"`layers` must be names of layers with trainable variables, from {known}. Received "
            f"{layers!r}."
        )
    return [i for i, path in enumerate(names) if any(_is_named(path, name) for name in wanted)]


def _is_named(path: str, name: str) -> bool:
    return name in (path, path.split("/")[-1])
