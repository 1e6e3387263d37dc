"""Variances from estimates that are really drawn: the only way for training-mode layers.

`monte_carlo` draws n estimates e_1 .. e_n and adds up, one after the other, with their running mean
(Welford),

    T_i = (i-1)/i ||e_i - mean(e_1 .. e_{i-1})||^2,        i = 2 .. n.

The mean of the T_i is the unbiased variance (ddof = 1). Each has the expectation V, and they are
uncorrelated if the estimates are Gaussian; their spread gives the standard error, and no estimate
has to be kept. The normalized variance divides, per coordinate, the unbiased variance by the mean
square, which is 1 in expectation for Gaussian noise without a mean.

`paper_2020` is the statistic behind the published figures: e = mean of n estimates, then n further
ones around e. Its expectation is V (1 + 1/n), and 1 + 1/(n-2) in the place of that 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.assignments import members_of
from tf_gradvar.data.examples import Examples
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator, Gradients, WeightedBatch
from tf_gradvar.estimators.results import EstimatorVariance, Layout, Measured, ratio_sums
from tf_gradvar.keras_internals import call_model, is_seed
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example import check_examples


class WeightedGradient:
    """The compiled gradient of `sum_i a_i loss_i` over a batch; the model is not changed."""

    def __init__(self, loss: ModelLoss, training: bool):
        self._model, self._loss, self._training = loss.model, loss, training
        self._compiled = tf.function(self._gradient, autograph=False, reduce_retracing=True)

    def __call__(
        self, data: tuple[Any, Any, Any], coefficients: np.ndarray, weights: Any, seed: int
    ) -> Gradients:
        """The gradient at given weights (None: the present ones), as float64 arrays.

        A `compute_loss` of the model's own is taken of the batch as it is where all coefficients
        are equal, and of one example after the other where they differ.
        """
        as_it_is = self._loss.computes_itself and bool(np.ptp(coefficients) == 0)
        if self._loss.computes_itself and not as_it_is:
            check_examples(self._loss, *data)
        x, y, sample_weight = keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), data
        )
        trainable, other = self._values(weights, seed)
        a = tf.constant(coefficients, tf.float64)
        gradients = self._compiled(x, y, sample_weight, a, trainable, other, as_it_is)
        return [np.asarray(gradient).astype(np.float64) for gradient in gradients]

    def _values(self, weights: Any, seed: int) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        model = self._model
        given: dict[int, Any] = {}
        if weights is not None:
            some = model.trainable_variables
            every = some if len(weights) == len(some) else model.weights
            given = {id(v): w for v, w in zip(every, weights, strict=True)}
        rng = np.random.default_rng(seed)

        def value(variable: keras.Variable) -> tf.Tensor:
            if is_seed(variable):
                return tf.constant(rng.integers(0, 2**31 - 1, 2), variable.dtype)
            return tf.convert_to_tensor(given.get(id(variable), variable.value), variable.dtype)

        return (
            [value(v) for v in model.trainable_variables],
            [value(v) for v in model.non_trainable_variables],
        )

    def _gradient(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        coefficients: Any,
        trainable: Any,
        other: Any,
        as_it_is: bool,
    ) -> Any:
        model, loss = self._model, self._loss
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            state = zip(variables, [*trainable, *other], strict=True)
            # The layers themselves would update their statistics and seeds.
            with keras.StatelessScope(state, collect_losses=True) as scope:
                outputs = call_model(model, x, self._training)
                if as_it_is:
                    value = loss.of_batch(x, y, outputs, sample_weight, scope.losses)
                    total = tf.cast(tf.reduce_sum(coefficients), value.dtype) * value
                else:
                    losses = loss.of_examples(x, y, outputs, sample_weight, scope.losses)
                    total = loss.weighted_total(losses, scope.losses, coefficients)
        gradients = tape.gradient(total, trainable, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients]


def has_random_layers(model: keras.Model) -> bool:
    """Whether the model keeps seeds, as dropout and noise layers do."""
    return any(is_seed(variable) for variable in model.non_trainable_variables)


def measure_draws(
    gradient: WeightedGradient,
    layout: Layout,
    examples: Examples,
    estimators: Sequence[Estimator],
    options: MeasuringOptions,
    step: int,
) -> dict[str, EstimatorVariance]:
    """The variance of every estimator from draws; each has its own random stream."""
    results = {}
    for estimator in estimators:
        members = members_of(estimator.assignments, examples.count)
        coefficients = estimator.coefficients(np.array([len(indices) for indices in members]))
        rng = np.random.default_rng([options.seed, step, zlib.crc32(estimator.name.encode())])
        published = options.method == "paper_2020"
        draws = 2 * options.num_draws if published else options.num_draws
        plan = [estimator.draw(members, rng) for _ in range(draws)]
        estimate = _estimator_of(gradient, examples, estimator, plan, rng, options.chunk_size)
        spread: MonteCarlo | Paper2020
        if published:
            spread = Paper2020(layout, options.normalized, options.num_draws)
        else:
            spread = MonteCarlo(layout, options.normalized)
        for batches in plan:
            spread.add(estimate(batches))
        plain = estimator.assignments is None and estimator.snapshot is None
        results[estimator.name] = spread.result(
            float(coefficients[0]) if plain else None,
            method=options.method,
            per_layer=options.per_layer,
        )
    return results


def _estimator_of(
    gradient: WeightedGradient,
    examples: Examples,
    estimator: Estimator,
    plan: list[list[WeightedBatch]],
    rng: np.random.Generator,
    chunk_size: int,
) -> Callable[[list[WeightedBatch]], Gradients]:
    """A function from the batches of a draw to the estimate."""
    loaded = examples.select(np.concatenate([b.indices for batches in plan for b in batches]))

    def of_batch(batch: WeightedBatch, weights: Any, seed: int) -> Gradients:
        return gradient(loaded.take(batch.indices), batch.coefficients, weights, seed)

    def mean_gradient(weights: Sequence[Any]) -> Gradients:
        total: Gradients = []
        for place, piece in enumerate(examples.pieces(None, None, chunk_size)):
            data = (piece.x, piece.y, piece.sample_weight)
            length = len(keras.tree.flatten(piece.x)[0])
            part = gradient(data, np.full(length, 1.0 / examples.count), weights, place)
            total = [g + h for g, h in zip(total, part, strict=True)] if total else part
        return total

    prepared = estimator.prepare(mean_gradient)

    def estimate(batches: list[WeightedBatch]) -> Gradients:
        return estimator.estimate(batches, of_batch, int(rng.integers(2**31)), prepared)

    return estimate


class MonteCarlo:
    """Additive statistics of estimates, for the unbiased variance."""

    def __init__(self, layout: Layout, normalized: bool):
        self._layout = layout
        self._normalized = normalized
        self._count = 0
        self._mean: Gradients = []
        self._m2: Gradients = []
        self._increments: list[np.ndarray] = []  # T_i by layer

    def add(self, estimate: Gradients) -> None:
        """Add one estimate."""
        self._count += 1
        if not self._mean:
            self._mean = [np.array(e) for e in estimate]
            self._m2 = [np.zeros_like(e) for e in estimate]
            return
        share = (self._count - 1) / self._count
        norms = []
        for mean, m2, e in zip(self._mean, self._m2, estimate, strict=True):
            delta = e - mean
            mean += delta / self._count
            square = share * np.square(delta)
            norms.append(float(square.sum()))
            if self._normalized:
                m2 += square
        self._increments.append(self._layout.by_layer(norms))

    def result(self, coefficient: float | None, **values: Any) -> EstimatorVariance:
        """The result; `coefficient` is V[estimate] / V[g_i], or None where it has no such."""
        layout, n = self._layout, self._count
        increments = np.array(self._increments)
        variance = increments.mean(axis=0)
        ratios = None
        if self._normalized:
            variances = [m2 / (n - 1) for m2 in self._m2]
            pairs = zip(self._m2, self._mean, strict=True)
            ratios = ratio_sums(layout, variances, [m2 / n + np.square(m) for m2, m in pairs])
        squared_mean = layout.squared_norms(self._mean) - variance / n
        error = np.nan if n < 3 else increments.sum(axis=1).std(ddof=1) / np.sqrt(n - 1)
        return _summary(layout, variance, ratios, squared_mean, coefficient, float(error), **values)


class Paper2020:
    """The statistic of the published code: estimates around the mean of earlier ones."""

    def __init__(self, layout: Layout, normalized: bool, num_draws: int):
        self._layout = layout
        self._normalized = normalized
        self._num_draws = num_draws
        self._count = 0
        self._centre: Gradients = []
        self._around: Gradients = []
        self._squares: Gradients = []
        self._distances: list[np.ndarray] = []

    def add(self, estimate: Gradients) -> None:
        """Add one estimate: the first n make the centre, the others lie around it."""
        self._count += 1
        n = self._num_draws
        if self._count <= n:
            centre = self._centre or [np.zeros_like(e) for e in estimate]
            self._centre = [c + e / n for c, e in zip(centre, estimate, strict=True)]
            return
        squares = [np.square(e - c) for e, c in zip(estimate, self._centre, strict=True)]
        self._distances.append(self._layout.by_layer([float(s.sum()) for s in squares]))
        if self._normalized:
            powers = [np.square(e) for e in estimate]
            self._around = _sum(self._around, squares)
            self._squares = _sum(self._squares, powers)

    def result(self, coefficient: float | None, **values: Any) -> EstimatorVariance:
        """The result; `coefficient` as for `MonteCarlo`."""
        distances = np.array(self._distances)
        variance = distances.mean(axis=0)
        ratios = None
        if self._normalized:
            ratios = ratio_sums(self._layout, self._around, self._squares)
        squared_mean = self._layout.squared_norms(self._centre)
        error = distances.sum(axis=1).std(ddof=1) / np.sqrt(self._num_draws)
        return _summary(
            self._layout, variance, ratios, squared_mean, coefficient, float(error), **values
        )


def _summary(
    layout: Layout,
    variance: np.ndarray,
    ratios: np.ndarray | None,
    squared_mean: np.ndarray,
    coefficient: float | None,
    error: float,
    *,
    method: str,
    per_layer: bool,
) -> EstimatorVariance:
    measured = Measured(
        variance, ratios, squared_mean, variance / coefficient if coefficient else None
    )
    return measured.of_model(
        layout,
        per_layer=per_layer,
        finite=np.isfinite(variance),
        method=method,
        standard_error=error / sum(layout.sizes),
    )


def _sum(totals: Gradients, parts: Gradients) -> Gradients:
    return [t + p for t, p in zip(totals, parts, strict=True)] if totals else parts
