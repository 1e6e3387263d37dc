r"""Means and variances of the gradients of groups of examples, from norms and sketches.

For group k with N_k examples in the data, n_k of them seen, and bars for means over those seen,

    ||gbar_k||^2 = (1/n_k^2) (sum_i ||g_i||^2 + sum_{i != j} <s_i, s_j>)
    s_k^2  = (mean ||g_i||^2 - ||gbar_k||^2) n_k / (n_k - 1)
    V_k   <- s_k^2 (N_k - 1) / N_k
    u_k    = (1 - n_k/N_k) s_k^2 / n_k

where norms are exact and inner products come from the sketches s_i, without bias. The same from a
quarter of the numbers of the sketches, four times, tells how much they are off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tf_gradvar.assignments import members_of, sizes_of, totals_of
from tf_gradvar.estimators.protocol import Between, Estimator
from tf_gradvar.estimators.subset import Seen as SeenStratum
from tf_gradvar.estimators.subset import standard_error

PARTS = 4


@dataclass(frozen=True)
class Prediction:
    """A predicted variance of one gradient estimate.

    Attributes:
        variance: In squared units of the gradient.
        standard_error: Of it, from the examples that were not seen and from the sketches.
    """

    variance: float
    standard_error: float


class GroupMoments:
    """The moments of one grouping.

    Args:
        assignments: The group of every example of the data, `[N]` from 0 up without gaps; no
            example is left out.
        indices: The numbers of the examples seen, `[n]`.
        squared_norms: ||g_i||^2, `[n]`.
        sketches: `[n, S]`.
    """

    def __init__(
        self,
        assignments: np.ndarray,
        indices: np.ndarray,
        squared_norms: np.ndarray,
        sketches: np.ndarray,
    ):
        self.assignments = assignments
        self.sizes = sizes_of(assignments)
        self._ids = assignments[indices]
        self._norms, self._sketches = squared_norms, sketches
        count = len(self.sizes)
        self.seen = sizes_of(self._ids, count)
        self._squares = totals_of(self._ids, squared_norms, count)
        self._whole = _Sums.of(self._ids, sketches, count)
        self._parts = [
            _Sums.of(self._ids, sketches[:, part::PARTS] * math.sqrt(PARTS), count)
            for part in range(PARTS)
        ]

    @property
    def complete(self) -> bool:
        """Whether all examples were seen."""
        return int(self.seen.sum()) == len(self.assignments)

    def variances(self) -> np.ndarray:
        """Return V_k, `[K]`."""
        return np.maximum(self._variances(self._whole), 0.0)

    def predict(self, estimator: Estimator) -> Prediction:
        """Return the variance of an estimator that draws from these groups."""
        coefficients = estimator.coefficients(self.sizes.astype(np.float64))
        return self.predict_sum(coefficients, estimator.between())

    def predict_sum(self, coefficients: np.ndarray, between: Between | None = None) -> Prediction:
        """Return `sum_k c_k V_k`, and the part between the groups where there is one."""

        def of(sums: _Sums) -> float:
            within = float(coefficients @ self._variances(sums))
            return within + (0.0 if between is None else self._between(sums, between))

        parts = [of(part) for part in self._parts]
        of_sketches = float(np.std(parts, ddof=1)) / math.sqrt(PARTS)
        of_examples = 0.0
        if not self.complete:
            of_examples = standard_error(self._strata(), coefficients, clustered=True)
        return Prediction(max(of(self._whole), 0.0), math.hypot(of_sketches, of_examples))

    def between_variance(self, weights: np.ndarray) -> float:
        """Return `sum_k q_k ||m_k - m||^2` with the weights q_k `[K]` and m their mean."""
        return self._between(self._whole, Between(weights))

    def _variances(self, sums: _Sums) -> np.ndarray:
        # Not cut off at 0 one by one: their errors cancel in a sum.
        return self._spread(sums) * (self.sizes - 1) / self.sizes

    def _spread(self, sums: _Sums) -> np.ndarray:
        """Return s_k^2, `[K]`; a group of which fewer than 2 were seen gets that of all."""
        n = np.maximum(self.seen, 1)
        squared_mean = (self._squares + sums.products) / n**2
        spread = (self._squares / n - squared_mean) * n / np.maximum(n - 1, 1)
        unknown = (self.seen < 2) & (self.sizes > self.seen)
        if unknown.any():
            known = self.seen >= 2
            pooled = float(self.seen[known] @ spread[known]) / max(int(self.seen[known].sum()), 1)
            spread = np.where(unknown, pooled, spread)
        return spread

    def _between(self, sums: _Sums, between: Between) -> float:
        q = between.probabilities
        factors = np.ones(len(q)) if between.factors is None else between.factors
        spread, n = self._spread(sums), np.maximum(self.seen, 1)
        error = factors**2 * (1.0 - self.seen / self.sizes) * spread / n
        squared_means = factors**2 * (self._squares + sums.products) / n**2
        weights = q * factors / n
        centre = weights @ sums.totals
        own = float(weights**2 @ (self._squares - sums.squares))
        squared_centre = float(centre @ centre) + own
        distance = float(q @ (squared_means - error)) - (squared_centre - float(q**2 @ error))
        return between.scale * max(distance, 0.0)

    def _strata(self) -> list[SeenStratum]:
        members = members_of(self._ids, len(self._ids), len(self.sizes))
        return [
            SeenStratum(k, int(self.sizes[k]), self._norms[rows], self._sketches[rows])
            for k, rows in enumerate(members)
            if len(rows)
        ]


@dataclass(frozen=True)
class _Sums:
    """Sums over the examples seen of each group.

    Attributes:
        totals: sum_i s_i, `[K, S]`.
        squares: sum_i ||s_i||^2, `[K]`.
        products: sum_{i != j} <s_i, s_j>, `[K]`.
    """

    totals: np.ndarray
    squares: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, sketches: np.ndarray, count: int) -> _Sums:
        """Return the sums within the groups of `ids`, `[n]`."""
        own = np.square(sketches, dtype=np.float64).sum(axis=1)
        squares = totals_of(ids, own, count)
        columns: Sequence[np.ndarray] = [totals_of(ids, c, count) for c in sketches.T]
        totals = np.stack(columns, axis=1)
        return cls(totals, squares, np.square(totals).sum(axis=1) - squares)
