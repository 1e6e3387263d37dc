"""Statistics of gradients that add up, whatever the data was cut into."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tf_gradvar.moments.layout import Arrays


@dataclass
class Sums:
    """Count, and sums of squared norms, of gradients and of their squares.

    Attributes:
        count: Number of gradients n, or the sum of their weights. Defaults to 0.
        squared_norms: `sum_i ||g_i||^2`, by layer, float64 `[L]`. Defaults to 0.
        gradients: `sum_i g_i`, one float64 array `[*shape]` for each variable. Defaults to none.
        squares: `sum_i g_i^2`, of the same shapes `[*shape]`. Defaults to none: not wanted.

    Example:
        >>> import numpy as np
        >>> sums = Sums(1, np.array([1.0]), [np.array([1.0])])
        >>> sums.add(Sums(1, np.array([9.0]), [np.array([3.0])]))
        >>> sums.count, sums.squared_norms, sums.gradients
        (2, array([10.]), [array([4.])])

    Source: Chan, Golub and LeVeque 1983 (merging).

    Memory: one or two copies of the weights in float64.
    """

    count: float = 0
    squared_norms: np.ndarray | float = 0.0
    gradients: Arrays = field(default_factory=list)
    squares: Arrays = field(default_factory=list)

    def add(self, other: Sums) -> None:
        """Add the sums over other gradients of the same shapes.

        Args:
            other: Their sums, which stay as they are.
        """
        self.count += other.count
        self.squared_norms = self.squared_norms + other.squared_norms
        self.gradients = added(self.gradients, other.gradients)
        self.squares = added(self.squares, other.squares)


@dataclass
class Moments:
    """Weight, mean and sum of squared deviations of each coordinate: no large number cancels.

    Attributes:
        count: n, or the sum of the weights a_i. Defaults to 0.
        mean: m, one float64 array `[*shape]` for each variable. Defaults to none: no gradient yet.
        m2: `sum_i a_i (g_i - m)^2`, of the same shapes `[*shape]`; None where it is not wanted.
            Defaults to none yet.

    Example:
        >>> import numpy as np
        >>> moments = Moments()
        >>> for value in (1.0, 3.0):
        ...     increment = moments.add([np.array([value])])
        >>> moments.mean, moments.m2
        ([array([2.])], [array([2.])])

    Source: Welford 1962; with weights, Chan, Golub and LeVeque 1983.

    Memory: two copies of the weights in float64, and a third while a gradient is added.
    """

    count: float = 0
    mean: Arrays = field(default_factory=list)
    m2: Arrays | None = field(default_factory=list)

    def add(self, gradient: Arrays, weight: float = 1) -> Arrays:
        """Add one gradient, and return by how much `sum_i a_i (g_i - m)^2` grew.

        With delta = g - m and n the weight before, `m <- m + delta a / (n + a)` and
        `M2 <- M2 + delta^2 n a / (n + a)`.

        Args:
            gradient: g, one array `[*shape]` for each variable.
            weight: a, at least 0. Defaults to 1.

        Returns:
            The growth, one float64 array `[*shape]` for each variable.
        """
        if not weight:
            return [np.zeros(np.shape(g)) for g in gradient]
        before, self.count = self.count, self.count + weight
        if not self.mean:
            self.mean = [np.array(g, np.float64) for g in gradient]
            increments = [np.zeros_like(mean) for mean in self.mean]
        else:
            increments = []
            for mean, g in zip(self.mean, gradient, strict=True):
                delta = np.subtract(g, mean, out=np.empty_like(mean))
                mean += delta / (self.count / weight)
                np.square(delta, out=delta)
                delta *= before * weight / self.count
                increments.append(delta)
        if self.m2 is not None:
            self.m2 = added(self.m2, increments)
        return increments


def added(totals: Arrays, parts: Arrays) -> Arrays:
    """Return the totals with the parts added in place, in float64.

    Args:
        totals: Float64 arrays `[*shape]`, one for each variable, which are changed; or none.
        parts: Arrays of the same shapes `[*shape]`, of any dtype; none where none are wanted.

    Returns:
        The totals, `[*shape]` each; copies of the parts where there were no totals.

    Example:
        >>> import numpy as np
        >>> totals = added([], [np.float32([1, 2])])
        >>> added(totals, [np.float32([10, 20])]) is totals, totals
        (True, [array([11., 22.])])

    Cost: one pass over the parts, and no copy but the first.
    """
    if not totals:
        return [np.array(part, np.float64) for part in parts]
    for total, part in zip(totals, parts, strict=True):
        total += part
    return totals
