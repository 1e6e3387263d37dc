"""Statistics of gradients that add up over batches, devices and processes."""

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
        count: Number of gradients, n.
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
            samples: For each variable an array `[n, *shape]`, n at least 1.

        Returns:
            Their moments, computed around the mean.

        Raises:
            ValueError: If there is no sample, or the variables have different numbers.

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
            count: Number of examples, B.
            mean: Mean gradient, for each variable `[*shape]`.
            second_moments: `sum_i g_i^2`, for each variable `[*shape]`.

        Returns:
            Their moments.

        Raises:
            ValueError: If `count` is less than 1 or the shapes differ.

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
        count: Number of gradients, n.
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
            mean_gradient: Mean gradient of the same B examples, for each variable `[*shape]`.

        Returns:
            Their sums.

        Raises:
            ValueError: If `squared_norms` is empty or not one value per example.

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
        ValueError: If there is no part, or kinds or shapes differ.

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
