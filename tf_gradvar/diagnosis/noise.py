r"""Signal and noise of a gradient, and how sure their estimates are.

N examples have the gradients g_i with the mean m, and V = (1/N) sum_i ||g_i - m||^2 is the trace of
their covariance. From n of them, distinct and random, with bars for means over those seen,

    s^2    = (mean ||g_i||^2 - ||gbar||^2) n / (n - 1)
    V     <- s^2 (N - 1) / N
    ||m||^2 <- ||gbar||^2 - (1 - n/N) s^2 / n

are unbiased, and exact for n = N. To first order example i moves them by psi_i / n each,

    psi_i  = ||g_i||^2 - 2 <g_i, m>         of V
    phi_i  = 2 <g_i, m>                     of ||m||^2

which gives their variances and covariance. Where the mean is small beside the noise, the second
order of ||m||^2 counts, 2 tr(C^2) / n^2 with C the covariance. Inner products and tr(C^2) come from
the sketches: products of their even and of their odd numbers, which are independent, so that their
errors do not add up to a bias. The range of the ratio V / ||m||^2 is Fieller's.

Source: McCandlish et al. 2018, arXiv:1812.06162, section 2 (noise scale); Cochran 1977, chapters 2
and 6 (finite populations, ratios); Fieller 1954.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tf_gradvar.diagnosis.examples_seen import Seen
from tf_gradvar.estimators.strata import Population, Stratum
from tf_gradvar.moments import Layout, noise_scale, ratio_sums

# Standard errors on each side of a range that holds 95 % of a normal distribution.
SIDE = 1.96


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, which is 0 for an exact one.

    Attributes:
        value: The number.
        standard_error: In the same unit; NaN: not known.
        low: Where the range of 95 % begins.
        high: Where it ends; may be infinite.
    """

    value: float
    standard_error: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, standard_error: float, least: float = 0.0) -> Estimate:
        """Return an estimate whose range reaches equally far to both sides, down to `least`.

        Args:
            value: The number.
            standard_error: In the same unit; 0 for an exact number.
            least: Where the range ends at the latest. Defaults to 0.
        """
        side = SIDE * standard_error
        return cls(value, standard_error, max(value - side, least), value + side)

    @property
    def exact(self) -> bool:
        """Whether nothing was left to chance."""
        return self.standard_error == 0.0


@dataclass(frozen=True)
class GradientNoise:
    """Signal and noise of the whole gradient.

    Attributes:
        batch_size: B, the user's.
        signal: ||m||^2, the squared norm of the mean gradient.
        noise: V, the variance of one example's gradient.
        noise_scale: V / ||m||^2, in examples.
        batch_variance: V / B, of the gradient of a batch.
        normalized_variance: (1/d) sum_j Var_j / E[e_j^2] of that gradient, from 0 to 1.
    """

    batch_size: int
    signal: Estimate
    noise: Estimate
    noise_scale: Estimate
    batch_variance: Estimate
    normalized_variance: float | None


@dataclass(frozen=True)
class LayerNoise:
    """A layer's part of both.

    Attributes:
        name: Of the layer.
        parameters: Numbers in it.
        noise_share: Of V, from 0 to 1.
        signal_share: Of ||m||^2, from 0 to 1.
        signal_to_noise: B ||m||^2 / V of a batch of B, of this layer alone.
    """

    name: str
    parameters: int
    noise_share: float
    signal_share: float
    signal_to_noise: float


def population_of(seen: Seen) -> Population:
    """Return all examples as one stratum."""
    population = Population(seen.layout, coordinates=bool(seen.sums.squares))
    population.add(Stratum(0, seen.count, seen.count, seen.sums, seen.layout))
    return population


def measure_noise(seen: Seen, batch_size: int) -> GradientNoise:
    """Return signal and noise, by the formulas at the top of this file."""
    population = population_of(seen)
    noise = float(population.variance.sum())
    signal = float(population.squared_mean.sum())
    errors = errors_of(seen, noise, signal)
    of_noise, of_signal = math.sqrt(errors[0, 0]), math.sqrt(errors[1, 1])
    return GradientNoise(
        batch_size,
        signal=Estimate.of(max(signal, 0.0), of_signal),
        noise=Estimate.of(noise, of_noise),
        noise_scale=ratio(noise, signal, errors),
        batch_variance=Estimate.of(noise / batch_size, of_noise / batch_size),
        normalized_variance=_normalized(seen, population, batch_size),
    )


def layer_noise(seen: Seen, batch_size: int) -> list[LayerNoise]:
    """Return the part of every layer, in the order of the model."""
    population = population_of(seen)
    return layer_rows(seen.layout, population.variance, population.squared_mean, batch_size)


def layer_rows(
    layout: Layout, noise: np.ndarray, signal: np.ndarray, batch_size: int
) -> list[LayerNoise]:
    """Return the part of every layer, from V and ||m||^2 by layer, `[L]` each."""
    signal = np.maximum(signal, 0.0)
    rows = zip(
        layout.layers,
        layout.layer_sizes.astype(int).tolist(),
        _shares(noise),
        _shares(signal),
        [_quotient(batch_size * s, v) for s, v in zip(signal, noise, strict=True)],
        strict=True,
    )
    return [LayerNoise(*row) for row in rows]


def errors_of(seen: Seen, noise: float, signal: float) -> np.ndarray:
    """Return the covariance of the estimates of V and ||m||^2, `[2, 2]`; zero if all were seen."""
    n = len(seen.indices)
    unseen = 1.0 - n / seen.count
    if unseen <= 0.0 or n < 3:
        return np.zeros((2, 2)) if n > 2 else np.full((2, 2), np.nan)
    halves = independent_halves(seen.sketches)
    means = [half.mean(axis=0) for half in halves]
    along = [half @ mean for half, mean in zip(halves, means, strict=True)]  # <g_i, m>, twice
    squared_norms = seen.squared_norms
    centred = squared_norms - squared_norms.mean()
    a, b = (values - values.mean() for values in along)
    along_variance = max(float(a @ b), 0.0) / (n - 1)
    mixed = float(centred @ (a + b)) / 2 / (n - 1)
    own = float(centred @ centred) / (n - 1)
    first = np.array(
        [
            [own - 4 * mixed + 4 * along_variance, 2 * mixed - 4 * along_variance],
            [2 * mixed - 4 * along_variance, 4 * along_variance],
        ]
    )
    second = 2.0 * trace_of_square(halves) * (unseen / n) ** 2
    errors = first * unseen / n
    errors[1, 1] += second
    errors[0, 0] = max(errors[0, 0], 0.0)
    return errors


def independent_halves(sketches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two sketches, each with half of the numbers and the full inner products."""
    wide = sketches.astype(np.float64) * math.sqrt(2.0)
    return wide[:, 0::2], wide[:, 1::2]


def trace_of_square(halves: tuple[np.ndarray, np.ndarray]) -> float:
    """Return an estimate of tr(C^2), the mean of <g_i - m, g_j - m>^2 over pairs i != j."""
    a, b = (half - half.mean(axis=0) for half in halves)
    n = len(a)
    product = a.T @ b
    own = float(np.square(a).sum(axis=1) @ np.square(b).sum(axis=1))
    return max((float(np.square(product).sum()) - own) / (n * (n - 1)), 0.0)


def ratio(noise: float, signal: float, errors: np.ndarray) -> Estimate:
    """Return V / ||m||^2 with its standard error and Fieller's range.

    The range holds every r for which V - r ||m||^2 is within `SIDE` standard errors of 0.

    Args:
        noise: V.
        signal: ||m||^2; an estimate may be negative.
        errors: Their covariance, `[2, 2]`.
    """
    value = noise_scale(noise, max(signal, 0.0))
    if not errors.any():
        return Estimate(value, 0.0, value, value)
    (vv, vs), (_, ss) = errors * SIDE**2
    a, b, c = signal**2 - ss, noise * signal - vs, noise**2 - vv
    root = math.sqrt(max(b * b - a * c, 0.0))
    high = (b + root) / a if a > 0 and signal > 0 else math.inf
    low = max((b - root) / a, 0.0) if a > 0 and signal > 0 else noise / (signal + math.sqrt(ss))
    if not math.isfinite(value):
        return Estimate(value, math.inf, low, high)
    gradient = np.array([1.0, -value]) / signal
    return Estimate(value, math.sqrt(max(gradient @ errors @ gradient, 0.0)), low, high)


def steps_saved(batch_size: int, critical: float) -> float:
    """Return the share of the steps that twice the batch saves, from 0 to 1/2.

    A run with batches of B takes `S_min (1 + B_c / B)` steps (McCandlish et al. 2018, Eq. 2.11).
    """
    if math.isinf(critical):
        return 0.5
    return 1.0 - (1.0 + critical / (2 * batch_size)) / (1.0 + critical / batch_size)


def examples_added(batch_size: int, critical: float) -> float:
    """Return by which share twice the batch raises the number of examples, from 0 to 1.

    The same run takes `E_min (1 + B / B_c)` examples.
    """
    if math.isinf(critical):
        return 0.0
    return (critical + 2 * batch_size) / (critical + batch_size) - 1.0


def _normalized(seen: Seen, population: Population, batch_size: int) -> float | None:
    if not seen.sums.squares:
        return None
    of_batch = [variance / batch_size for variance in population.variances]
    squares = [np.maximum(square, 0.0) for square in population.squared_means]
    powers = [v + s for v, s in zip(of_batch, squares, strict=True)]
    return float(ratio_sums(seen.layout, of_batch, powers).sum() / sum(seen.layout.sizes))


def _shares(values: np.ndarray) -> list[float]:
    total = float(values.sum())
    return [float(value) / total if total > 0 else 0.0 for value in values]


def _quotient(signal: float, noise: float) -> float:
    if noise > 0:
        return float(signal / noise)
    return math.inf if signal > 0 else 0.0
