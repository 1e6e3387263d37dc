"""One pass over the examples, or over a random subset as large as budget and time allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar import per_example
from tf_gradvar.data.examples import Examples, Piece
from tf_gradvar.diagnosis.limits import FEWEST, Choice, Clock, choose, too_short
from tf_gradvar.estimators.whole import PieceStatistics
from tf_gradvar.keras_internals import call_model
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Layout, Sums

SKETCH_SIZE = 256
CHUNK_SIZE = 256

# (examples seen, of how many)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Seen:
    """What the pass has found.

    Attributes:
        count: N, the examples of the data, without those that were left out if all were seen.
        choice: How many were to be seen, and why.
        indices: Numbers of those seen, increasing, int64 `[n]`.
        squared_norms: ||g_i||^2, float64 `[n]`.
        sketches: float32 `[n, S]`.
        losses: float64 `[n]`.
        outputs: Of the model, `[n]` or `[n, C]`; None where it has others.
        sums: Over the n examples, by layer.
        layout: The layers.
        left_out: Numbers of examples whose gradients are infinite or not a number.
        seconds: What one example took.
    """

    count: int
    choice: Choice
    indices: np.ndarray
    squared_norms: np.ndarray
    sketches: np.ndarray
    losses: np.ndarray
    outputs: np.ndarray | None
    sums: Sums
    layout: Layout
    left_out: np.ndarray
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether nothing is left to chance: all examples were seen."""
        return len(self.indices) == self.count


def look(
    loss: ModelLoss,
    examples: Examples,
    *,
    budget: str,
    clock: Clock,
    seed: int = 0,
    progress: Progress = lambda seen, total: None,
    chunk_size: int = CHUNK_SIZE,
    one_pass: Pass | None = None,
) -> Seen:
    """Look at the examples, each of them once.

    A first piece is looked at twice: the first time compiles, the second tells what an example
    costs, and with it how many can be looked at. A subset is taken in random order, so that what
    was seen when the time is up is a random subset, too.

    Args:
        loss: The loss, with its model.
        examples: The data.
        budget: A key of `BUDGETS`.
        clock: Knows the time that is left.
        seed: Of the subset and of the sketches.
        progress: Is told how far the pass is.
        chunk_size: The most examples in a piece.
        one_pass: Compiled by an earlier look with the same loss and seed, or None.

    Raises:
        ValueError: A limit in which nothing can be measured, no example with a finite gradient,
            and what `per_example.statistics` refuses.
    """
    model = loss.model
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    layout = Layout.of(per_example.variable_layers(model), shapes)
    one_pass = one_pass or Pass(loss, seed)
    first = next(iter(examples.pieces(None, None, chunk_size)))
    per_example.check_examples(loss, first.x, first.y, first.sample_weight)
    one_pass(first)
    start = time.perf_counter()
    one_pass(first)
    seconds = (time.perf_counter() - start) / _length(first)
    choice = choose(budget, examples.count, seconds, clock.left)
    if clock.limit is not None and (
        clock.left <= 0 or choice.count < min(FEWEST, examples.count, _length(first))
    ):
        raise too_short(clock.limit, clock.elapsed)
    rows = _Rows()
    deadline = clock.elapsed + 1.5 * seconds * choice.count + 1.0
    for indices, piece in _pieces(examples, choice, chunk_size, np.random.default_rng(seed)):
        rows.add(indices, one_pass(piece), piece, one_pass)
        progress(rows.seen, choice.count)
        late = clock.limit is not None and clock.elapsed > min(deadline, 0.8 * clock.limit)
        if late and choice.count < examples.count:
            break
    return rows.finish(examples.count, choice, layout, seconds)


class Pass:
    """The compiled pass over one piece: statistics and the outputs of the model.

    Args:
        loss: The loss, with its model.
        seed: Of the sketches.
    """

    def __init__(self, loss: ModelLoss, seed: int):
        self.loss = loss
        self._statistics = PieceStatistics(loss, sketch_size=SKETCH_SIZE, seed=seed)
        model = loss.model
        self._outputs = tf.function(
            lambda x: call_model(model, x, training=False), autograph=False, reduce_retracing=True
        )

    def __call__(self, piece: Piece) -> per_example.Statistics:
        """Return the statistics of a piece."""
        return self._statistics(piece, None, squares=True, sketch=True)

    def outputs(self, piece: Piece) -> np.ndarray | None:
        """Return the model's only output, at most a row an example, or None."""
        found = self._outputs(keras.tree.map_structure(tf.convert_to_tensor, piece.x))
        if keras.tree.is_nested(found) or len(found.shape) > 2:
            return None
        return np.asarray(found)


class _Rows:
    """The examples seen so far."""

    def __init__(self) -> None:
        self.seen = 0
        self._sums = Sums()
        self._left_out: list[np.ndarray] = []
        self._columns: list[tuple[np.ndarray, ...]] = []
        self._outputs: list[np.ndarray | None] = []

    def add(
        self, indices: np.ndarray, found: per_example.Statistics, piece: Piece, one_pass: Pass
    ) -> None:
        """Add a piece, without the examples that are not finite."""
        self.seen += len(indices)
        finite = _finite(found)
        if not finite.all():
            # Their gradients would spoil the sums of all.
            self._left_out.append(indices[~finite])
            indices, piece = indices[finite], _rows(piece, np.flatnonzero(finite))
            if not len(indices):
                return
            found = one_pass(piece)
        layers = found.layer_squared_norms or {}
        norms = np.stack([np.asarray(value, np.float64) for value in layers.values()], axis=1)
        count = len(indices)
        totals = [np.float64(count) * np.asarray(mean) for mean in found.mean_gradient or []]
        squares = [np.asarray(square) for square in found.second_moments or []]
        self._sums.add(Sums(count, norms.sum(axis=0), totals, squares))
        losses = np.asarray(found.losses, np.float64)
        self._columns.append((indices, norms.sum(axis=1), np.asarray(found.sketch), losses))
        self._outputs.append(one_pass.outputs(piece))

    def finish(self, total: int, choice: Choice, layout: Layout, seconds: float) -> Seen:
        """Return all of it, in the order of the data."""
        left_out = np.sort(np.concatenate([np.empty(0, np.int64), *self._left_out]))
        if not self._columns:
            raise ValueError(
                "The gradient of an example must be finite. Received: gradients that are infinite "
                f"or not a number for all {len(left_out)} examples that were looked at. Look for "
                "NaN in `x`, `y` and the weights of the model."
            )
        columns = [np.concatenate(parts) for parts in zip(*self._columns, strict=True)]
        order = np.argsort(columns[0])
        indices, norms, sketches, losses = (column[order] for column in columns)
        known = [part for part in self._outputs if part is not None]
        outputs = np.concatenate(known)[order] if len(known) == len(self._outputs) else None
        count = total - len(left_out) if self.seen == total else total
        parts = (indices, norms, sketches.astype(np.float32), losses, outputs)
        return Seen(count, choice, *parts, self._sums, layout, left_out, seconds)


def _pieces(
    examples: Examples, choice: Choice, chunk_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, Piece]]:
    """Yield the numbers of examples, and the examples."""
    if choice.count == examples.count:
        start = 0
        for piece in examples.pieces(None, None, chunk_size):
            yield np.arange(start, start + _length(piece)), piece
            start += _length(piece)
        return
    chosen = rng.choice(examples.count, choice.count, replace=False)
    loaded = examples.select(chosen)
    for start in range(0, len(chosen), chunk_size):
        indices = chosen[start : start + chunk_size]
        yield indices, Piece(0, *loaded.take(indices))


def _finite(found: per_example.Statistics) -> np.ndarray:
    sketches = np.asarray(found.sketch)
    sums = np.asarray(found.squared_norms) + np.asarray(found.losses)
    return np.isfinite(sums) & np.isfinite(sketches).all(axis=1)


def _length(piece: Piece) -> int:
    return len(keras.tree.flatten(piece.x)[0])


def _rows(piece: Piece, rows: np.ndarray) -> Piece:
    parts = (piece.x, piece.y, piece.sample_weight)
    taken = keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[rows], parts)
    return Piece(piece.cluster, *taken)
