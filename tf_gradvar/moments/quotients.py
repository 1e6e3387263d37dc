"""Quotients of additive statistics, taken once, at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_gradvar.moments.layout import Arrays, Layout
from tf_gradvar.moments.sums import Moments, Sums


@dataclass(frozen=True)
class Means:
    """What sums over n gradients are divided into.

    Attributes:
        count: n, or the sum of the weights.
        mean: m, one float64 array `[*shape]` for each variable.
        mean_square: The mean of `||g_i||^2`, by layer, float64 `[L]`.
        squares: `sum_i g_i^2`, `[*shape]` each, not yet divided; empty where they are not wanted.

    Example:
        >>> import numpy as np
        >>> means = Means.of(Sums(2, np.array([10.0]), [np.array([4.0])]))  # of 1 and 3
        >>> means.mean, means.variance(Layout(("layer",), (0,), (1,)))
        ([array([2.])], array([1.]))
    """

    count: float
    mean: Arrays
    mean_square: np.ndarray
    squares: Arrays

    @classmethod
    def of(cls, sums: Sums) -> Means:
        """Return the means of what was summed.

        Args:
            sums: Over at least one gradient.
        """
        mean = [gradient / sums.count for gradient in sums.gradients]
        return cls(sums.count, mean, np.asarray(sums.squared_norms / sums.count), sums.squares)

    def variance(self, layout: Layout) -> np.ndarray:
        """Return `mean ||g_i||^2 - ||m||^2`, by layer `[L]`: the variance with ddof = 0.

        Args:
            layout: The layers of the variables.
        """
        # A NaN must reach the result, as it does through `np.maximum`.
        return np.maximum(self.mean_square - layout.squared_norms(self.mean), 0.0)

    def add_variances(self, totals: Arrays, factor: float) -> Arrays:
        """Return `totals` plus `factor` times the variance (ddof = 0) of every coordinate.

        Args:
            totals: Float64 arrays `[*shape]`, which are changed; none for zeros.
            factor: Of the variance.
        """
        if not totals:
            totals = [np.zeros_like(mean) for mean in self.mean]
        if factor:
            for total, mean, squares in zip(totals, self.mean, self.squares, strict=True):
                total += (factor / self.count) * squares
                total -= factor * np.square(mean)
        return totals

    def weighted(self, weight: float) -> Sums:
        """Return the means, each times a weight: one part of a weighted mean.

        Args:
            weight: Of these gradients among all.
        """
        return Sums(
            weight,
            weight * self.mean_square,
            [weight * mean for mean in self.mean],
            [(weight / self.count) * squares for squares in self.squares],
        )


def variances(moments: Moments) -> Arrays:
    """Return the unbiased variance of every coordinate, `M2 / (n - 1)`.

    Args:
        moments: Of at least two gradients.

    Returns:
        One float64 array `[*shape]` for each variable; none where `m2` is None.

    Example:
        >>> import numpy as np
        >>> moments = Moments()
        >>> for value in (1.0, 3.0):
        ...     increment = moments.add([np.array([value])])
        >>> variances(moments)
        [array([2.])]

    Source: Faghri et al. 2020, section 4 (the variance of each coordinate); Welford 1962.

    Cost: one copy of the weights.
    """
    return [m2 / (moments.count - 1) for m2 in moments.m2 or []]


def mean_squares(moments: Moments) -> Arrays:
    """Return the mean square of every coordinate, `M2 / n + m^2`.

    Args:
        moments: Of at least one gradient, with `m2`.

    Returns:
        One float64 array `[*shape]` for each variable.

    Example:
        >>> import numpy as np
        >>> moments = Moments()
        >>> for value in (1.0, 3.0):
        ...     increment = moments.add([np.array([value])])
        >>> mean_squares(moments)
        [array([5.])]

    Source: Faghri et al. 2020, section 4: the E[e_j^2] of the normalized variance.

    Cost: one copy of the weights.
    """
    pairs = zip(moments.m2 or [], moments.mean, strict=True)
    return [m2 / moments.count + np.square(mean) for m2, mean in pairs]


def ratio_sums(layout: Layout, variances: Arrays, powers: Arrays) -> np.ndarray:
    """Return the sums over the coordinates of `variances / powers`, by layer `[L]`.

    Divided by the number of coordinates this is the normalized variance, with the powers
    E[e_j^2]. A coordinate whose gradient is always 0 counts as 0.

    Args:
        layout: The layers of the variables.
        variances: Of every coordinate, one array `[*shape]` for each variable.
        powers: The mean squares, of the same shapes `[*shape]`.

    Returns:
        Float64 `[L]`.

    Example:
        >>> import numpy as np
        >>> layout = Layout(("layer",), (0,), (2,))
        >>> ratio_sums(layout, [np.array([1.0, 0.0])], [np.array([5.0, 0.0])])
        array([0.2])

    Source: Faghri et al. 2020, section 4 (normalized variance).

    Cost: one pass over the numbers, and one copy of the weights.
    """
    ratios = []
    for variance, power in zip(variances, powers, strict=True):
        # `power != 0` and not `> 0`: a NaN must reach the result.
        ratios.append(np.divide(variance, power, out=np.zeros_like(power), where=power != 0))
    return layout.totals(ratios)


def noise_scale(variance: float, squared_mean: float) -> float:
    """Return the gradient noise scale `V[g_i] / ||m||^2`, a batch size.

    Args:
        variance: V[g_i], of one example's gradient, in squared units of the gradient.
        squared_mean: `||m||^2`, in the same unit.

    Returns:
        A number of examples: infinite for a zero mean gradient, NaN if all gradients are zero.

    Example:
        >>> noise_scale(1.0, 4.0), noise_scale(1.0, 0.0)
        (0.25, inf)

    Source: McCandlish et al. 2018, arXiv:1812.06162, equation 2.9.

    Cost: one division.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(variance) / squared_mean)
