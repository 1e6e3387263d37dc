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

import numpy as np

from tf_gradvar.estimators.protocol import Between
from tf_gradvar.moments import Arrays, Layout, Means, Moments, Sums, added


class Stratum:
    """One finished stratum.

    Args:
        index: k.
        size: N_k.
        total: N.
        sums: Over the n_k examples seen.
        layout: Of the model.
    """

    def __init__(self, index: int, size: int, total: int, sums: Sums, layout: Layout):
        self.index, self.size = index, size
        self.weight = size / total
        self.means = Means.of(sums)
        self._biased = self.means.variance(layout)
        seen = sums.count
        bessel = seen / (seen - 1) if seen > 1 else 0.0
        # V_k and u_k over the biased variance of the examples seen.
        self.variance_factor = bessel * (size - 1) / size
        self.error_factor = (1.0 - seen / size) * bessel / seen

    @property
    def variance(self) -> np.ndarray:
        """V_k, `[L]`."""
        return self.variance_factor * self._biased

    @property
    def mean_error(self) -> np.ndarray:
        """u_k, `[L]`."""
        return self.error_factor * self._biased


class Population:
    """All the data together, from its strata."""

    def __init__(self, layout: Layout, *, coordinates: bool):
        self._layout = layout
        self._coordinates = coordinates
        self._sums = Sums()  # of the strata's means, with the weights w_k
        self._error: np.ndarray | float = 0.0
        self._errors: Arrays = []

    def add(self, stratum: Stratum) -> None:
        """Add one finished stratum."""
        w = stratum.weight
        self._sums.add(stratum.means.weighted(w))
        self._error = self._error + w**2 * stratum.mean_error
        if self._coordinates and stratum.error_factor:
            factor = w**2 * stratum.error_factor
            self._errors = stratum.means.add_variances(self._errors, factor)

    @property
    def squared_mean(self) -> np.ndarray:
        """||m||^2, `[L]`."""
        return self._layout.squared_norms(self._sums.gradients) - self._error

    @property
    def variance(self) -> np.ndarray:
        """V, `[L]`."""
        return np.maximum(self._sums.squared_norms - self.squared_mean, 0.0)

    @property
    def squared_means(self) -> Arrays:
        """m_j^2, `[*shape]` each."""
        squares = [np.square(mean) for mean in self._sums.gradients]
        for square, error in zip(squares, self._errors, strict=False):
            square -= error
        return squares

    @property
    def variances(self) -> Arrays:
        """V of every coordinate; empty where it is not wanted."""
        if not self._coordinates:
            return []
        pairs = zip(self._sums.squares, self.squared_means, strict=True)
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
        self._differences = Moments()  # of the d_k, with the weights q_k
        self._distance_error: np.ndarray | float = 0.0
        self._centre_error: np.ndarray | float = 0.0
        self._mean: Arrays = []

    def add(self, stratum: Stratum) -> None:
        """Add one finished stratum."""
        coefficient = float(self._coefficients[stratum.index])
        self.within = self.within + coefficient * stratum.variance
        if self._coordinates:
            factor = coefficient * stratum.variance_factor
            self._spread = stratum.means.add_variances(self._spread, factor)
        if self._between is not None:
            self._add_between(stratum, self._between)

    def _add_between(self, stratum: Stratum, between: Between) -> None:
        k, mean = stratum.index, stratum.means.mean
        q, factor = float(between.probabilities[k]), between.factor(k)
        self._differences.add(between.difference(k, mean), q)
        self._mean = added(self._mean, [q * m for m in mean])
        error = factor**2 * stratum.mean_error
        self._distance_error = self._distance_error + q * error
        self._centre_error = self._centre_error + q**2 * error
        if self._coordinates and stratum.error_factor:
            # The noise of the stratum's mean is not a distance between strata.
            scale = between.scale * q * (1.0 - q) * factor**2 * stratum.error_factor
            self._spread = stratum.means.add_variances(self._spread, -scale)

    @property
    def between(self) -> np.ndarray:
        """The exact part between the strata, `[L]`; zero without one."""
        if self._between is None:
            return np.zeros(len(self._layout.layers))
        exact = self._layout.totals(self._differences.m2 or [])
        exact = exact - (self._distance_error - self._centre_error)
        return self._between.scale * np.maximum(exact, 0.0)

    @property
    def buffered_between(self) -> np.ndarray:
        """`scale * sum_k q_k ||d_k||^2`, `[L]`; zero without one."""
        if self._between is None:
            return np.zeros(len(self._layout.layers))
        distance = self._layout.totals(self._differences.m2 or [])
        distance = distance + self._layout.squared_norms(self._differences.mean)
        return self._between.scale * np.maximum(distance - self._distance_error, 0.0)

    @property
    def variances(self) -> Arrays:
        """The variance of the estimate in every coordinate; empty where it is not wanted."""
        if not self._coordinates:
            return []
        if self._between is None:
            return [np.maximum(spread, 0.0) for spread in self._spread]
        parts = zip(self._spread, self._differences.m2 or [], strict=True)
        return [np.maximum(spread + self._between.scale * m2, 0.0) for spread, m2 in parts]

    def expected_squares(self, population: Population) -> Arrays:
        """Return the square of the estimate's mean in every coordinate."""
        if self._between is None or self._between.factors is not None:
            return population.squared_means
        pairs = zip(self._mean, self._bias(), strict=True)
        return [np.square(mean + bias) for mean, bias in pairs]

    @property
    def squared_bias(self) -> np.ndarray:
        """The squared distance of the estimate's mean from the mean gradient m, `[L]`."""
        if self._between is None or not self._between.pull:
            return np.zeros(len(self._layout.layers))
        error = self._between.pull**2 * self._centre_error
        return np.maximum(self._layout.squared_norms(self._bias()) - error, 0.0)

    def _bias(self) -> Arrays:
        """Return `pull (centre - m)`, `[*shape]` each."""
        between = self._between
        if between is None or not between.pull or between.centre is None:
            return [np.zeros_like(mean) for mean in self._mean]
        pairs = zip(between.centre(), self._mean, strict=True)
        return [between.pull * (centre - mean) for centre, mean in pairs]
