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

import numpy as np

from tf_gradvar.assignments import members_of
from tf_gradvar.data.examples import Examples
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator, Gradients, WeightedBatch
from tf_gradvar.estimators.results import EstimatorVariance, Measured
from tf_gradvar.estimators.weighted_gradient import WeightedGradient
from tf_gradvar.moments import (
    Arrays,
    Layout,
    Moments,
    added,
    mean_squares,
    ratio_sums,
    variances,
)


def measure_draws(
    gradient: WeightedGradient,
    layout: Layout,
    examples: Examples,
    estimators: Sequence[Estimator],
    options: MeasuringOptions,
    step: int,
) -> dict[str, EstimatorVariance]:
    """Return the variance of every estimator from draws; each has its own random stream."""
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
    """Return a function from the batches of a draw to the estimate."""
    loaded = examples.select(np.concatenate([b.indices for batches in plan for b in batches]))

    def of_batch(batch: WeightedBatch, weights: Any, seed: int) -> Gradients:
        return gradient(loaded.take(batch.indices), batch.coefficients, weights, seed)

    def mean_gradient(weights: Sequence[Any]) -> Gradients:
        return gradient.means(examples.pieces(None, None, chunk_size), [examples.count], weights)[0]

    prepared = estimator.prepare(mean_gradient)

    def estimate(batches: list[WeightedBatch]) -> Gradients:
        return estimator.estimate(batches, of_batch, int(rng.integers(2**31)), prepared)

    return estimate


class MonteCarlo:
    """The unbiased variance of estimates, added one after the other."""

    def __init__(self, layout: Layout, normalized: bool):
        self._layout = layout
        self._moments = Moments(m2=[] if normalized else None)
        self._increments: list[np.ndarray] = []  # T_i by layer

    def add(self, estimate: Gradients) -> None:
        """Add one estimate."""
        increments = self._layout.totals(self._moments.add(estimate))
        if self._moments.count > 1:
            self._increments.append(increments)

    def result(self, coefficient: float | None, **values: Any) -> EstimatorVariance:
        """Return the result; `coefficient` is V[estimate] / V[g_i], None where there is none."""
        layout, moments, n = self._layout, self._moments, self._moments.count
        increments = np.array(self._increments)
        variance = increments.mean(axis=0)
        ratios = None
        if moments.m2 is not None:
            ratios = ratio_sums(layout, variances(moments), mean_squares(moments))
        squared_mean = layout.squared_norms(moments.mean) - variance / n
        error = np.nan if n < 3 else increments.sum(axis=1).std(ddof=1) / np.sqrt(n - 1)
        return _summary(layout, variance, ratios, squared_mean, coefficient, float(error), **values)


class Paper2020:
    """The statistic of the published code: estimates around the mean of earlier ones."""

    def __init__(self, layout: Layout, normalized: bool, num_draws: int):
        self._layout = layout
        self._normalized = normalized
        self._num_draws = num_draws
        self._count = 0
        self._centre: Arrays = []  # the mean of the first n
        self._around: Arrays = []  # sums of the squares around the centre
        self._squares: Arrays = []  # and around 0
        self._distances: list[np.ndarray] = []

    def add(self, estimate: Gradients) -> None:
        """Add one estimate: the first n make the centre, the others lie around it."""
        self._count += 1
        if self._count <= self._num_draws:
            self._centre = added(self._centre, [e / self._num_draws for e in estimate])
            return
        squares = [np.square(e - c) for e, c in zip(estimate, self._centre, strict=True)]
        self._distances.append(self._layout.totals(squares))
        if self._normalized:
            self._around = added(self._around, squares)
            self._squares = added(self._squares, [np.square(e) for e in estimate])

    def result(self, coefficient: float | None, **values: Any) -> EstimatorVariance:
        """Return the result; `coefficient` as for `MonteCarlo`."""
        layout = self._layout
        distances = np.array(self._distances)
        variance = distances.mean(axis=0)
        ratios = ratio_sums(layout, self._around, self._squares) if self._normalized else None
        squared_mean = layout.squared_norms(self._centre)
        error = distances.sum(axis=1).std(ddof=1) / np.sqrt(self._num_draws)
        return _summary(layout, variance, ratios, squared_mean, coefficient, float(error), **values)


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
