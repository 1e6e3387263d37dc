"""Additive statistics of gradients: what crosses batches, devices and processes.

Two forms, both merged by `merge` and divided once, at the end:

    Moments   n, mean m_j and M2_j = sum_i (g_ij - m_j)^2 of each coordinate j
    NormSums  n, sum_i ||g_i||^2 and sum_i g_i; enough for the variance, at half the memory

V[g] = (1/n) sum_i ||g_i - m||^2 is the trace of the covariance of one draw. All numbers are NumPy
float64, whatever came in: a mean of squares minus a squared mean would cancel in float32. A result
does not depend on how the data was cut.

Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4 (average and
normalized variance); Chan, Golub and LeVeque 1983 (merging); McCandlish et al. 2018,
arXiv:1812.06162, equation 2.9 (noise scale).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tf_gradvar.arguments import check_count

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of each coordinate.

    Attributes:
        count: number of gradients, n.
        mean: m, one float64 array for each variable.
        m2: `sum_i (g_i - m)^2`, the same shapes.
    """

    count: int
    mean: Arrays
    m2: Arrays

    @classmethod
    def of_samples(cls, samples: Sequence[Any]) -> Moments:
        """Moments of gradients that are given in full.

        Args:
            samples: for each variable an array `[n, *shape]`, n at least 1.

        Returns:
            Their moments, computed around the mean.

        Raises:
            ValueError: if there is no sample, or the variables have different numbers.

        Example:
            >>> moments = Moments.of_samples([[[1.0], [3.0]]])
            >>> moments.mean, moments.m2
            ((array([2.]),), (array([2.]),))
        """
        arrays = _float64(samples)
        counts = {len(array) if array.ndim else 0 for array in arrays}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(
                "`samples` must hold the same number of gradients, at least one, for each "
                f"variable. Received arrays of shapes {[array.shape for array in arrays]}."
            )
        mean = tuple(array.mean(axis=0) for array in arrays)
        m2 = tuple(np.square(a - m).sum(axis=0) for a, m in zip(arrays, mean, strict=True))
        return cls(counts.pop(), mean, m2)

    @classmethod
    def of_batch(cls, count: int, mean: Sequence[Any], second_moments: Sequence[Any]) -> Moments:
        """Moments from the results of `per_example.statistics`.

        The subtraction is done once a batch, in float64. Its relative error is that of the
        arguments (1e-7 for float32) times one plus the batch's ratio of m^2 to the variance.

        Args:
            count: number of examples, B.
            mean: mean gradient, for each variable `[*shape]`.
            second_moments: `sum_i g_i^2`, for each variable `[*shape]`.

        Returns:
            Their moments.

        Raises:
            ValueError: if `count` is less than 1 or the shapes differ.

        Example:
            >>> Moments.of_batch(2, [[2.0]], [[10.0]]).m2  # of the gradients 1 and 3
            (array([2.]),)
        """
        count = check_count("count", count, "the number of examples in the batch")
        means, squares = _float64(mean), _float64(second_moments)
        _check_shapes("second_moments", squares, means)
        m2 = tuple(
            np.maximum(s - count * np.square(m), 0.0) for s, m in zip(squares, means, strict=True)
        )
        return cls(count, means, m2)


@dataclass(frozen=True)
class NormSums:
    """Count, sum of squared norms and sum of gradients.

    Attributes:
        count: number of gradients, n.
        squared_norms: `sum_i ||g_i||^2`.
        gradients: `sum_i g_i`, one float64 array for each variable.
    """

    count: int
    squared_norms: float
    gradients: Arrays

    @classmethod
    def of_batch(cls, squared_norms: Any, mean_gradient: Sequence[Any]) -> NormSums:
        """Sums from the results of `per_example.statistics`.

        Args:
            squared_norms: `||g_i||^2`, `[B]`.
            mean_gradient: mean gradient of the same B examples, for each variable `[*shape]`.

        Returns:
            Their sums.

        Raises:
            ValueError: if `squared_norms` is empty or not one value per example.

        Example:
            >>> NormSums.of_batch([1.0, 9.0], [[2.0]])  # of the gradients 1 and 3
            NormSums(count=2, squared_norms=10.0, gradients=(array([4.]),))
        """
        (norms,) = _float64([squared_norms])
        if norms.ndim != 1 or not len(norms):
            raise ValueError(
                "`squared_norms` must have the shape [B], with B at least 1. "
                f"Received the shape {norms.shape}."
            )
        total = tuple(len(norms) * mean for mean in _float64(mean_gradient))
        return cls(len(norms), float(norms.sum()), total)


AdditiveStatistics = Moments | NormSums
_Statistics = TypeVar("_Statistics", Moments, NormSums)


def merge(parts: Iterable[_Statistics]) -> _Statistics:
    """The statistics of all data from those of its parts.

    With delta = m_b - m_a and n = n_a + n_b: `m = m_a + delta n_b / n` and
    `M2 = M2_a + M2_b + delta^2 n_a n_b / n`. Sums are added.

    Args:
        parts: `Moments`, or `NormSums`, of at least one part, with the same shapes.

    Returns:
        Statistics of the same kind.

    Raises:
        ValueError: if there is no part, or kinds or shapes differ.

    Example:
        >>> merge([Moments.of_samples([[[1.0]]]), Moments.of_samples([[[3.0], [5.0]]])]).m2
        (array([8.]),)
    """
    parts = list(parts)
    if not parts:
        raise ValueError("`parts` must hold at least one part, it is empty.")
    if len({type(part) for part in parts}) != 1:
        raise ValueError(
            "`parts` must be all Moments or all NormSums. "
            f"Received {sorted({type(part).__name__ for part in parts})}."
        )
    combine = _merge_moments if isinstance(parts[0], Moments) else _merge_sums
    return functools.reduce(combine, parts)


def variance(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """Trace of the covariance of one gradient, `V = sum_i ||g_i - m||^2 / (n - ddof)`.

    Args:
        statistics: of n gradients.
        ddof: 0 if they are all there are (default), 1 for an unbiased estimate from draws.

    Returns:
        V, in squared units of the gradient. The mean of B independent draws has V / B.

    Raises:
        ValueError: if n is not above `ddof`.

    Example:
        >>> variance(Moments.of_samples([[[1.0], [3.0]]]))
        1.0
        >>> variance(NormSums.of_batch([1.0, 9.0], [[2.0]]), ddof=1)
        2.0
    """
    if isinstance(statistics, Moments):
        return sum(variances(statistics, ddof=ddof))
    spread = statistics.squared_norms - statistics.count * squared_mean_norm(statistics)
    return float(np.maximum(0.0, spread)) / _divisor(statistics, ddof)  # NaN stays NaN


def variances(moments: Moments, *, ddof: int = 0) -> list[float]:
    """The part of `variance` that each variable contributes.

    Args:
        moments: of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        One number for each variable; they add up to `variance`.

    Raises:
        ValueError: if n is not above `ddof`.

    Example:
        >>> variances(Moments.of_samples([[[1.0], [3.0]], [[0.0], [4.0]]]))
        [1.0, 4.0]
    """
    divisor = _divisor(moments, ddof)
    return [float(m2.sum()) / divisor for m2 in moments.m2]


def average_variance(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """`variance` divided by the number of coordinates d.

    Args:
        statistics: of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        V / d.

    Raises:
        ValueError: if n is not above `ddof`.

    Example:
        >>> average_variance(Moments.of_samples([[[1.0, 0.0], [3.0, 0.0]]]))
        0.5
    """
    means = statistics.mean if isinstance(statistics, Moments) else statistics.gradients
    return variance(statistics, ddof=ddof) / sum(mean.size for mean in means)


def normalized_variance(moments: Moments, *, draws: int = 1, ddof: int = 0) -> float:
    """`(1/d) sum_j Var[e_j] / E[e_j^2]` for the mean e of `draws` independent gradients.

    `Var[e_j] = Var[g_j] / draws` and `E[e_j^2] = Var[e_j] + m_j^2`. A coordinate whose gradient
    is always 0 counts as 0. (Section 4 of the study, where it is called normalized variance.)

    Args:
        moments: of n gradients.
        draws: gradients in the mean, such as the batch size. Default 1.
        ddof: 0 or 1, as in `variance`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: if n is not above `ddof` or `draws` is not a positive integer.

    Example:
        >>> normalized_variance(Moments.of_samples([[[1.0, 0.0], [3.0, 0.0]]]))  # (1/5 + 0) / 2
        0.1
    """
    draws = check_count("draws", draws, "the gradients in a mean")
    divisor = _divisor(moments, ddof) * draws
    total = 0.0
    for mean, m2 in zip(moments.mean, moments.m2, strict=True):
        spread = m2 / divisor
        power = spread + np.square(mean)
        total += float(np.divide(spread, power, out=np.zeros_like(power), where=power != 0).sum())
    return total / sum(mean.size for mean in moments.mean)


def snr(moments: Moments, *, draws: int = 1, ddof: int = 0) -> float:
    """Signal-to-noise ratio: the inverse of the normalized variance, minus one.

    Args:
        moments: of n gradients.
        draws: gradients in the mean, such as the batch size. Default 1.
        ddof: 0 or 1, as in `variance`.

    Returns:
        A number from 0 up; infinite where there is no variance.

    Raises:
        ValueError: as `normalized_variance`.

    Example:
        >>> snr(Moments.of_samples([[[1.0], [3.0]]]))  # m^2 / Var = 4 / 1
        4.0
    """
    noise = normalized_variance(moments, draws=draws, ddof=ddof)
    return 1.0 / noise - 1.0 if noise > 0 else float("inf")


def noise_scale(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """Gradient noise scale `B_simple = V / ||m||^2`, a batch size.

    Args:
        statistics: of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        The batch size at which noise and signal are equal; infinite for a zero mean gradient,
        and NaN if all gradients are zero.

    Raises:
        ValueError: if n is not above `ddof`.

    Example:
        >>> noise_scale(Moments.of_samples([[[1.0], [3.0]]]))
        0.25
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(variance(statistics, ddof=ddof)) / squared_mean_norm(statistics))


def squared_mean_norm(statistics: AdditiveStatistics) -> float:
    """`||m||^2`, the squared norm of the mean gradient.

    Args:
        statistics: of n gradients.

    Returns:
        The squared norm.

    Example:
        >>> squared_mean_norm(NormSums.of_batch([1.0, 9.0], [[2.0]]))
        4.0
    """
    if isinstance(statistics, Moments):
        return float(sum(np.square(mean).sum() for mean in statistics.mean))
    return float(sum(np.square(g / statistics.count).sum() for g in statistics.gradients))


def _merge_moments(a: Moments, b: Moments) -> Moments:
    _check_shapes("parts", b.mean, a.mean)
    count = a.count + b.count
    mean, m2 = [], []
    for mean_a, mean_b, m2_a, m2_b in zip(a.mean, b.mean, a.m2, b.m2, strict=True):
        delta = mean_b - mean_a
        mean.append(mean_a + delta * (b.count / count))
        m2.append(m2_a + m2_b + np.square(delta) * (a.count * b.count / count))
    return Moments(count, tuple(mean), tuple(m2))


def _merge_sums(a: NormSums, b: NormSums) -> NormSums:
    _check_shapes("parts", b.gradients, a.gradients)
    gradients = tuple(x + y for x, y in zip(a.gradients, b.gradients, strict=True))
    return NormSums(a.count + b.count, a.squared_norms + b.squared_norms, gradients)


def _float64(arrays: Sequence[Any]) -> Arrays:
    return tuple(np.asarray(array).astype(np.float64) for array in arrays)


def _check_shapes(name: str, arrays: Arrays, expected: Arrays) -> None:
    shapes, wanted = [a.shape for a in arrays], [a.shape for a in expected]
    if shapes != wanted:
        raise ValueError(
            f"`{name}` must have the shapes {wanted}, one for each variable. Received {shapes}."
        )


def _divisor(statistics: AdditiveStatistics, ddof: int) -> int:
    if statistics.count <= ddof:
        raise ValueError(
            f"`statistics` must hold more than ddof={ddof} gradients to have a variance. "
            f"Received {statistics.count}; measure more, or use ddof=0."
        )
    return statistics.count - ddof
