"""From sums over the examples of strata to unbiased variances, in float64 NumPy.

Stratum k holds N_k examples of N, of which n_k are seen (all of them for `method="exact"`, and
distinct random ones for `"subset"`). With bars for means over those seen:

    s_k^2  = (mean ||g_i||^2 - ||gbar_k||^2) n_k / (n_k - 1)
    V_k   <- s_k^2 (N_k - 1) / N_k                         variance of one example of the stratum
    u_k    = (1 - n_k/N_k) s_k^2 / n_k                     variance of gbar_k around m_k
    m     <- sum_k w_k gbar_k,  w_k = N_k / N
    V     <- sum_k w_k mean ||g_i||^2 - ||m||^2 + sum_k w_k^2 u_k

Each is unbiased, and exact where all examples are seen. The same holds for every coordinate.
Source: the textbook theory of stratified random sampling (Cochran 1977, chapter 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tf_gradvar.estimators.protocol import Between
from tf_gradvar.estimators.results import Arrays, Layout


@dataclass
class Sums:
    """Sums over the examples of one stratum that were seen so far.

    Attributes:
        count: n_k.
        squared_norms: By layer, `[L]`.
        gradients: Sum of the gradients, float64 `[*shape]` each.
        squares: Sum of their squares; None: not wanted.
        norms: ||g_i||^2 of the examples, pieces `[b]`.
        sketches: Their sketches, pieces `[b, r]`; empty: not wanted.
    """

    count: int = 0
    squared_norms: np.ndarray | float = 0.0
    gradients: Arrays = field(default_factory=list)
    squares: Arrays | None = None
    norms: list[np.ndarray] = field(default_factory=list)
    sketches: list[np.ndarray] = field(default_factory=list)

    def add(
        self,
        squared_norms: np.ndarray,
        gradients: Arrays,
        squares: Arrays | None,
        sketch: np.ndarray | None,
    ) -> None:
        """Add a piece: norms `[b, L]`, sums of gradients and of squares, sketch `[b, r]`."""
        self.count += len(squared_norms)
        self.squared_norms = self.squared_norms + squared_norms.sum(axis=0)
        self.gradients = _added(self.gradients, gradients)
        if squares is not None:
            self.squares = _added(self.squares or [], squares)
        self.norms.append(squared_norms.sum(axis=1))
        if sketch is not None:
            self.sketches.append(sketch)


@dataclass
class Stratum:
    """One finished stratum.

    Attributes:
        index: k.
        size: N_k.
        total: N.
        sums: Over the n_k examples seen.
        layout: Of the model.
    """

    index: int
    size: int
    total: int
    sums: Sums
    layout: Layout

    def __post_init__(self) -> None:
        seen = self.sums.count
        self.weight = self.size / self.total
        self.mean = [gradient / seen for gradient in self.sums.gradients]
        self.mean_square = self.sums.squared_norms / seen
        self._biased = self.mean_square - self.layout.squared_norms(self.mean)
        self._bessel = seen / (seen - 1) if seen > 1 else 0.0

    @property
    def variance_factor(self) -> float:
        """V_k over the biased variance of the examples seen."""
        return self._bessel * (self.size - 1) / self.size

    @property
    def error_factor(self) -> float:
        """u_k over the biased variance of the examples seen."""
        return (1.0 - self.sums.count / self.size) * self._bessel / self.sums.count

    @property
    def variance(self) -> np.ndarray:
        """V_k, `[L]`."""
        return self.variance_factor * np.maximum(self._biased, 0.0)

    @property
    def mean_error(self) -> np.ndarray:
        """u_k, `[L]`."""
        return self.error_factor * np.maximum(self._biased, 0.0)

    def add_spread(self, totals: Arrays, factor: float) -> Arrays:
        """Add `factor` times the biased variance of every coordinate to `totals`."""
        if not totals:
            totals = [np.zeros_like(mean) for mean in self.mean]
        if factor:
            for total, mean, squares in zip(
                totals, self.mean, self.sums.squares or [], strict=True
            ):
                total += (factor / self.sums.count) * squares
                total -= factor * np.square(mean)
        return totals


class Population:
    """All the data together, from its strata."""

    def __init__(self, layout: Layout, *, coordinates: bool):
        self._layout = layout
        self._coordinates = coordinates
        self._mean_square: np.ndarray | float = 0.0
        self._error: np.ndarray | float = 0.0
        self.mean: Arrays = []
        self._mean_squares: Arrays = []
        self._errors: Arrays = []

    def add(self, stratum: Stratum) -> None:
        """Add one finished stratum."""
        w = stratum.weight
        self._mean_square = self._mean_square + w * stratum.mean_square
        self._error = self._error + w**2 * stratum.mean_error
        self.mean = _added(self.mean, [w * mean for mean in stratum.mean])
        if self._coordinates:
            squares = stratum.sums.squares or []
            scale = w / stratum.sums.count
            self._mean_squares = _added(self._mean_squares, [scale * s for s in squares])
            if stratum.error_factor:
                self._errors = stratum.add_spread(self._errors, w**2 * stratum.error_factor)

    @property
    def squared_mean(self) -> np.ndarray:
        """||m||^2, `[L]`."""
        return self._layout.squared_norms(self.mean) - self._error

    @property
    def variance(self) -> np.ndarray:
        """V, `[L]`."""
        return np.maximum(self._mean_square - self.squared_mean, 0.0)

    @property
    def squared_means(self) -> Arrays:
        """m_j^2, `[*shape]` each."""
        squares = [np.square(mean) for mean in self.mean]
        return _subtracted(squares, self._errors)

    @property
    def variances(self) -> Arrays:
        """V of every coordinate; empty where it is not wanted."""
        if not self._coordinates:
            return []
        pairs = zip(self._mean_squares, self.squared_means, strict=True)
        return [np.maximum(square - mean, 0.0) for square, mean in pairs]


class Strata:
    """The variance of an estimator that draws within strata.

    Args:
        layout: Of the model.
        coefficients: c_k, `[K]`.
        between: The variance between the strata, or None.
        coordinates: Whether the variance of every coordinate is wanted.
    """

    def __init__(
        self,
        layout: Layout,
        coefficients: np.ndarray,
        between: Between | None,
        *,
        coordinates: bool,
    ):
        self._layout = layout
        self._coefficients = coefficients
        self._between = between
        self._coordinates = coordinates
        self.within: np.ndarray = np.zeros(len(layout.layers))
        self._spread: Arrays = []
        self._far: Arrays = []  # sum_k q_k d_k^2
        self._centre: Arrays = []  # sum_k q_k d_k
        self._buffered_error: np.ndarray | float = 0.0
        self._centre_error: np.ndarray | float = 0.0
        self._mean: Arrays = []

    def add(self, stratum: Stratum) -> None:
        """Add one finished stratum."""
        coefficient = float(self._coefficients[stratum.index])
        self.within = self.within + coefficient * stratum.variance
        if self._coordinates:
            factor = coefficient * stratum.variance_factor
            self._spread = stratum.add_spread(self._spread, factor)
        if self._between is not None:
            self._add_between(stratum, self._between)

    def _add_between(self, stratum: Stratum, between: Between) -> None:
        q = float(between.probabilities[stratum.index])
        factor = 1.0 if between.factors is None else float(between.factors[stratum.index])
        differences = [factor * mean for mean in stratum.mean]
        if between.offsets is not None:
            offsets = between.offsets(stratum.index)
            differences = [d - offset for d, offset in zip(differences, offsets, strict=True)]
        far, centre = [], []
        for difference in differences:
            far.append(q * np.square(difference))
            centre.append(q * difference)
        self._far, self._centre = _added(self._far, far), _added(self._centre, centre)
        self._mean = _added(self._mean, [q * mean for mean in stratum.mean])
        error = factor**2 * stratum.mean_error
        self._buffered_error = self._buffered_error + q * error
        self._centre_error = self._centre_error + q**2 * error
        if self._coordinates and stratum.error_factor:
            # The noise of the stratum's mean is not a distance between strata.
            scale = between.scale * q * (1.0 - q) * factor**2 * stratum.error_factor
            self._spread = stratum.add_spread(self._spread, -scale)

    @property
    def between(self) -> np.ndarray:
        """The exact part between the strata, `[L]`; zero without one."""
        if self._between is None:
            return np.zeros(len(self._layout.layers))
        far = self._layout.by_layer([float(values.sum()) for values in self._far])
        exact = far - self._buffered_error
        exact = exact - (self._layout.squared_norms(self._centre) - self._centre_error)
        return self._between.scale * np.maximum(exact, 0.0)

    @property
    def buffered_between(self) -> np.ndarray:
        """`scale * sum_k q_k ||d_k||^2`, `[L]`."""
        scale = 0.0 if self._between is None else self._between.scale
        far = self._layout.by_layer([float(values.sum()) for values in self._far])
        return scale * np.maximum(far - self._buffered_error, 0.0)

    @property
    def variances(self) -> Arrays:
        """The variance of the estimate in every coordinate; empty where it is not wanted."""
        if not self._coordinates:
            return []
        if self._between is None:
            return [np.maximum(spread, 0.0) for spread in self._spread]
        scale = self._between.scale
        parts = zip(self._spread, self._far, self._centre, strict=True)
        return [np.maximum(s + scale * (f - np.square(c)), 0.0) for s, f, c in parts]

    def expected_squares(self, population: Population) -> Arrays:
        """The square of the estimate's mean in every coordinate."""
        if self._between is None or self._between.factors is not None:
            return population.squared_means
        return [np.square(mean) for mean in self._mean]


def _added(totals: Arrays, parts: Arrays) -> Arrays:
    """Add in place, in float64; empty totals stand for zeros."""
    if not totals:
        return [np.array(part, np.float64) for part in parts]
    for total, part in zip(totals, parts, strict=True):
        total += part
    return totals


def _subtracted(values: Arrays, parts: Arrays) -> Arrays:
    for value, part in zip(values, parts, strict=False):
        value -= part
    return values
