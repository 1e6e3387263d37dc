"""Variances in closed form, from one pass over all examples or a random subset of them.

Estimators with the same clusters share a pass; those without clusters join the first. SVRG's
differences come from two more passes, made at the same examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar import per_example
from tf_gradvar.assignments import sizes_of
from tf_gradvar.data.examples import Examples, Piece
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.results import EstimatorVariance, Measured
from tf_gradvar.estimators.strata import Population, Strata, Stratum
from tf_gradvar.estimators.subset import SKETCH_SIZE, Seen, choose_subset, standard_error
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Layout, Sums, ratio_sums

# Key of the gradients at the present weights; those of a snapshot have the estimator's name.
PRESENT = ""


class PieceStatistics:
    """The compiled pass over one piece, which any number of examples go through.

    Args:
        loss: The loss, with its model.
        sketch_size: Numbers in a sketch.
        seed: Of the sketches.
    """

    def __init__(self, loss: ModelLoss, sketch_size: int = SKETCH_SIZE, seed: int = 0):
        self._model, self._loss = loss.model, loss
        self._sketch_size, self._seed = sketch_size, seed
        self._compiled: dict[Any, Any] = {}

    def __call__(
        self, piece: Piece, other: Sequence[Any] | None, squares: bool, sketch: bool
    ) -> per_example.Statistics:
        """Return statistics of the gradients, or of their differences to those at other weights."""
        arguments = keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf),
            (piece.x, piece.y, piece.sample_weight),
        )
        weights = None if other is None else self._in_model_precision(other)
        # A trace for any number of examples: pieces differ in length.
        specs = keras.tree.map_structure(_of_any_length, arguments)
        leaves = tuple(map(str, keras.tree.flatten(specs)))
        key = (None if weights is None else len(weights), squares, sketch, leaves)
        if key not in self._compiled:
            function = tf.function(self._statistics(squares, sketch), autograph=False)
            self._compiled[key] = function.get_concrete_function(*specs, weights)
        return self._compiled[key](*arguments, weights)

    def _in_model_precision(self, weights: Sequence[Any]) -> list[tf.Tensor]:
        model = self._model
        variables = model.weights if len(weights) == len(model.weights) else None
        dtypes = [v.dtype for v in variables or model.trainable_variables]
        tensors = [tf.convert_to_tensor(weight) for weight in weights]
        return [tf.cast(t, d) for t, d in zip(tensors, dtypes, strict=False)]

    def _statistics(self, squares: bool, sketch: bool) -> Callable[..., Any]:
        def statistics(x: Any, y: Any, sample_weight: Any, other: Any) -> Any:
            return per_example.statistics(
                self._model,
                x,
                y,
                self._loss,
                sample_weight=sample_weight,
                other_weights=other,
                second_moments=squares,
                sketch_size=self._sketch_size if sketch else None,
                seed=self._seed,
                per_layer=True,
            )

        return statistics


@dataclass
class Pass:
    """The findings of one pass.

    Attributes:
        populations: Key of the gradients -> all the data together.
        strata: Name of an estimator with clusters -> its variance.
        seen: Key of the gradients -> the examples of each stratum.
        finite: Whether the gradients of a layer are finite, `[L]`.
    """

    populations: dict[str, Population]
    strata: dict[str, Strata]
    seen: dict[str, list[Seen]]
    finite: np.ndarray


def measure_whole(
    statistics: PieceStatistics,
    layout: Layout,
    examples: Examples,
    estimators: Sequence[Estimator],
    options: MeasuringOptions,
    step: int,
) -> tuple[dict[str, EstimatorVariance], list[Seen]]:
    """Return the variance of every estimator, exactly or from a subset.

    Returns:
        Results by the estimators' names, and the norms of all examples that were seen.
    """
    rng = np.random.default_rng([options.seed, step])
    results: dict[str, EstimatorVariance] = {}
    norms: list[Seen] = []
    for group in _groups(estimators):
        assignments = next((e.assignments for e in group if e.assignments is not None), None)
        chosen = None
        if options.method == "subset":
            chosen = choose_subset(assignments, examples.count, options.subset_size, rng)
        found = _one_pass(statistics, layout, examples, group, assignments, chosen, options)
        norms = norms or found.seen[PRESENT]
        for estimator in group:
            results[estimator.name] = _result(estimator, found, layout, options)
    return results, norms


def _groups(estimators: Sequence[Estimator]) -> list[list[Estimator]]:
    """Return groups of estimators that share a pass; those without clusters join the first."""
    groups: list[list[Estimator]] = []
    for estimator in estimators:
        if (assignments := estimator.assignments) is None:
            continue
        for group in groups:
            if np.array_equal(np.asarray(group[0].assignments), assignments):
                group.append(estimator)
                break
        else:
            groups.append([estimator])
    plain = [estimator for estimator in estimators if estimator.assignments is None]
    if not groups:
        return [plain]
    return [groups[0] + plain, *groups[1:]]


def _one_pass(
    statistics: PieceStatistics,
    layout: Layout,
    examples: Examples,
    estimators: Sequence[Estimator],
    assignments: np.ndarray | None,
    chosen: list[np.ndarray] | None,
    options: MeasuringOptions,
) -> Pass:
    normalized = options.normalized
    sizes = np.array([examples.count]) if assignments is None else sizes_of(assignments)
    seen_sizes = sizes if chosen is None else np.array([len(indices) for indices in chosen])
    others = {PRESENT: None, **{e.name: e.snapshot for e in estimators if e.snapshot is not None}}
    found = Pass(
        {key: Population(layout, coordinates=normalized) for key in others},
        {
            e.name: Strata(layout, e.coefficients(sizes), e.between(), coordinates=normalized)
            for e in estimators
            if e.assignments is not None
        },
        {key: [] for key in others},
        np.full(len(layout.layers), True),
    )
    open_strata: dict[tuple[str, int], Open] = {}
    for piece in examples.pieces(chosen, assignments, options.chunk_size):
        k = piece.cluster
        for key, other in others.items():
            stratum = open_strata.setdefault((key, k), Open(k, int(sizes[k])))
            stratum.add(statistics(piece, other, normalized, chosen is not None))
            if stratum.sums.count == seen_sizes[k]:
                _finish(found, key, open_strata.pop((key, k)), int(sizes.sum()), layout)
    return found


class Open:
    """One stratum of which not all examples have been seen yet."""

    def __init__(self, index: int, size: int):
        self.index, self.size = index, size
        self.sums = Sums()
        self._norms: list[np.ndarray] = []  # ||g_i||^2
        self._sketches: list[np.ndarray] = []

    def add(self, statistics: per_example.Statistics) -> None:
        """Add a piece."""
        count = statistics.losses.shape[0]
        layers = statistics.layer_squared_norms or {}
        norms = np.stack([np.asarray(values, np.float64) for values in layers.values()], axis=1)
        totals = [np.float64(count) * np.asarray(mean) for mean in statistics.mean_gradient or []]
        squares = [np.asarray(square) for square in statistics.second_moments or []]
        self.sums.add(Sums(count, norms.sum(axis=0), totals, squares))
        self._norms.append(norms.sum(axis=1))
        if statistics.sketch is not None:
            self._sketches.append(np.asarray(statistics.sketch, np.float64))

    def seen(self) -> Seen:
        """Return its examples, one by one."""
        sketches = np.concatenate(self._sketches) if self._sketches else None
        return Seen(self.index, self.size, np.concatenate(self._norms), sketches)


def _finish(found: Pass, key: str, stratum: Open, total: int, layout: Layout) -> None:
    found.finite = found.finite & np.isfinite(stratum.sums.squared_norms)
    finished = Stratum(stratum.index, stratum.size, total, stratum.sums, layout)
    found.populations[key].add(finished)
    if key == PRESENT:
        for strata in found.strata.values():
            strata.add(finished)
    found.seen[key].append(stratum.seen())


def _result(
    estimator: Estimator, found: Pass, layout: Layout, options: MeasuringOptions
) -> EstimatorVariance:
    present = found.populations[PRESENT]
    key = estimator.name if estimator.name in found.populations else PRESENT
    strata = found.strata.get(estimator.name)
    seen = found.seen[key]
    size = sum(layout.sizes)
    parts = None
    if strata is None:
        total = sum(part.size for part in seen)
        coefficients = estimator.coefficients(np.array([total]))
        population = found.populations[key]
        variance = coefficients[0] * population.variance
        variances = [coefficients[0] * v for v in population.variances]
        squared_means = present.squared_means
    else:
        sizes = sizes_of(estimator.assignments)  # type: ignore[arg-type]
        coefficients = estimator.coefficients(sizes)
        variance = strata.within + strata.between
        variances, squared_means = strata.variances, strata.expected_squares(present)
        if (between := estimator.between()) is not None:
            parts = {
                "within": float(strata.within.sum()) / size,
                "between": float(strata.between.sum()) / size,
            }
            if between.offsets is not None:
                parts["buffered_between"] = float(strata.buffered_between.sum()) / size
                parts["squared_bias"] = float(strata.squared_bias.sum()) / size
    error = None
    if options.method == "subset" and parts is None:
        error = standard_error(seen, coefficients, clustered=strata is not None) / size
    measured = Measured(
        variance, _ratios(layout, variances, squared_means), present.squared_mean, present.variance
    )
    return measured.of_model(
        layout,
        per_layer=options.per_layer,
        finite=found.finite,
        method=options.method,
        standard_error=error,
        parts=parts,
    )


def _ratios(
    layout: Layout, variances: list[np.ndarray], squared_means: list[np.ndarray]
) -> np.ndarray | None:
    if not variances:
        return None
    # An estimate of m_j^2 may come out negative, m_j^2 does not.
    pairs = zip(variances, squared_means, strict=True)
    return ratio_sums(layout, variances, [v + np.maximum(m, 0.0) for v, m in pairs])


def _of_any_length(leaf: Any) -> Any:
    return None if leaf is None else tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype)
