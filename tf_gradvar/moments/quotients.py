"""What additive statistics are divided into, once, at the end."""

from __future__ import annotations

import numpy as np

from tf_gradvar.arguments import check_count
from tf_gradvar.moments.statistics import AdditiveStatistics, Moments


def variance(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """Trace of the covariance of one gradient, `V = sum_i ||g_i - m||^2 / (n - ddof)`.

    Args:
        statistics: Of n gradients.
        ddof: 0 if they are all there are (default), 1 for an unbiased estimate from draws.

    Returns:
        V, in squared units of the gradient. The mean of B independent draws has V / B.

    Raises:
        ValueError: If n is not above `ddof`.

    Example:
        >>> from tf_gradvar.moments import Moments, NormSums
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
        moments: Of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        One number for each variable; they add up to `variance`.

    Raises:
        ValueError: If n is not above `ddof`.

    Example:
        >>> variances(Moments.of_samples([[[1.0], [3.0]], [[0.0], [4.0]]]))
        [1.0, 4.0]
    """
    divisor = _divisor(moments, ddof)
    return [float(m2.sum()) / divisor for m2 in moments.m2]


def average_variance(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """`variance` divided by the number of coordinates d.

    Args:
        statistics: Of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        V / d.

    Raises:
        ValueError: If n is not above `ddof`.

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
        moments: Of n gradients.
        draws: Gradients in the mean, such as the batch size. Defaults to 1.
        ddof: 0 or 1, as in `variance`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If n is not above `ddof` or `draws` is not a positive integer.

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
        moments: Of n gradients.
        draws: Gradients in the mean, such as the batch size. Defaults to 1.
        ddof: 0 or 1, as in `variance`.

    Returns:
        A number from 0 up; infinite where there is no variance.

    Raises:
        ValueError: As `normalized_variance`.

    Example:
        >>> snr(Moments.of_samples([[[1.0], [3.0]]]))  # m^2 / Var = 4 / 1
        4.0
    """
    noise = normalized_variance(moments, draws=draws, ddof=ddof)
    return 1.0 / noise - 1.0 if noise > 0 else float("inf")


def noise_scale(statistics: AdditiveStatistics, *, ddof: int = 0) -> float:
    """Gradient noise scale `B_simple = V / ||m||^2`, a batch size.

    Args:
        statistics: Of n gradients.
        ddof: 0 or 1, as in `variance`.

    Returns:
        The batch size at which noise and signal are equal; infinite for a zero mean gradient,
        and NaN if all gradients are zero.

    Raises:
        ValueError: If n is not above `ddof`.

    Example:
        >>> noise_scale(Moments.of_samples([[[1.0], [3.0]]]))
        0.25
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(variance(statistics, ddof=ddof)) / squared_mean_norm(statistics))


def squared_mean_norm(statistics: AdditiveStatistics) -> float:
    """`||m||^2`, the squared norm of the mean gradient.

    Args:
        statistics: Of n gradients.

    Returns:
        The squared norm.

    Example:
        >>> from tf_gradvar.moments import NormSums
        >>> squared_mean_norm(NormSums.of_batch([1.0, 9.0], [[2.0]]))
        4.0
    """
    if isinstance(statistics, Moments):
        return float(sum(np.square(mean).sum() for mean in statistics.mean))
    return float(sum(np.square(g / statistics.count).sum() for g in statistics.gradients))


def _divisor(statistics: AdditiveStatistics, ddof: int) -> int:
    if statistics.count <= ddof:
        raise ValueError(
            f"`statistics` must hold more than ddof={ddof} gradients to have a variance. "
            f"Received {statistics.count}; measure more, or use ddof=0."
        )
    return statistics.count - ddof
