"""Statistics of gradients that add up, whatever the data was cut into."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tf_gradvar.moments.layout import Arrays


@dataclass
class Sums:
    """Count, and sums of squared norms, of gradients and of their squares.

    Attributes:
        count: Number of gradients n, or the sum of their weights.
        squared_norms: `sum_i ||g_i||^2`, by layer `[L]`.
        gradients: `sum_i g_i`, one float64 array for each variable.
        squares: `sum_i g_i^2`, the same shapes; empty where they are not wanted.

    Example:
        >>> import numpy as np
        >>> sums = Sums(1, np.array([1.0]), [np.array([1.0])])
        >>> sums.add(Sums(1, np.array([9.0]), [np.array([3.0])]))
        >>> sums.count, sums.squared_norms, sums.gradients
        (2, array([10.]), [array([4.])])
    """

    count: float = 0
    squared_norms: np.ndarray | float = 0.0
    gradients: Arrays = field(default_factory=list)
    squares: Arrays = field(default_factory=list)

    def add(self, other: Sums) -> None:
        """Add the sums over other gradients of the same shapes."""
        self.count += other.count
        self.squared_norms = self.squared_norms + other.squared_norms
        self.gradients = added(self.gradients, other.gradients)
        self.squares = added(self.squares, other.squares)


@dataclass
class Moments:
    """Weight, mean and sum of squared deviations of each coordinate: no large number cancels.

    Attributes:
        count: n, or the sum of the weights.
        mean: m, one float64 array for each variable.
        m2: `sum_i a_i (g_i - m)^2`, the same shapes; None where it is not wanted.

    Example:
        >>> import numpy as np
        >>> moments = Moments()
        >>> for value in (1.0, 3.0):
        ...     increment = moments.add([np.array([value])])
        >>> moments.mean, moments.m2
        ([array([2.])], [array([2.])])
    """

    count: float = 0
    mean: Arrays = field(default_factory=list)
    m2: Arrays | None = field(default_factory=list)

    def add(self, gradient: Arrays, weight: float = 1) -> Arrays:
        """Add one gradient, and return by how much `sum_i a_i (g_i - m)^2` grew.

        With delta = g - m and n the weight before, `m <- m + delta a / (n + a)` and
        `M2 <- M2 + delta^2 n a / (n + a)`.

        Args:
            gradient: g, one array for each variable.
            weight: a, at least 0. Defaults to 1.
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
    """Return the totals with the parts added in place, in float64; empty totals are zeros."""
    if not totals:
        return [np.array(part, np.float64) for part in parts]
    for total, part in zip(totals, parts, strict=True):
        total += part
    return totals
