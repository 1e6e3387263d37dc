"""The part of a gradient's variance that comes from which cluster a group was drawn from.

A group of examples of cluster k, drawn with probability q_k, has a mean gradient whose expectation
is grad R_k and not grad R. The distance between the two is the between-cluster part of the
variance; the buffers of the Discover optimizers exist to remove it.

All three functions are of one group. A step that averages C groups, drawn independently, has this
variance divided by C. Sums over the parameters, not averages: the unit is that of a squared
gradient norm. Everything is summed in float64 after subtracting, one variable at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_gradvar.arguments import check_probabilities
from tf_gradvar.estimators.protocol import Between
from tf_gradvar.moments import Arrays, Moments

Gradients = Sequence[ArrayLike]


def between_cluster_variance(
    cluster_gradients: Gradients, cluster_probabilities: ArrayLike | None = None
) -> float:
    r"""Return the between-cluster variance of the plain mean gradient of one group.

    ``sum_k q_k ||grad R_k - grad R||^2`` with ``grad R = sum_k q_k grad R_k``.

    Args:
        cluster_gradients: The gradients grad R_k, a list of arrays [K, *shape], one a variable.
        cluster_probabilities: q_k [K], summing to 1. Defaults to uniform.

    Returns:
        The variance, summed over all the parameters.

    Raises:
        ValueError: Arrays that disagree about K, or probabilities that are not K numbers >= 0
            that sum to 1.

    Example:
        >>> between_cluster_variance([[[0.0, 1.0], [2.0, 1.0]]])
        1.0
        >>> between_cluster_variance([[[0.0, 1.0], [2.0, 1.0]]], [0.75, 0.25])
        0.75

    Source: Discover paper, Section 3, Eq. 3, second term (there an inequality with a factor; here
    the exact value).

    Cost: reads every array once, one cluster at a time.
    """
    return between_values(cluster_gradients, None, cluster_probabilities).exact


def buffered_between_cluster_variance(
    cluster_gradients: Gradients,
    buffers: Gradients,
    cluster_probabilities: ArrayLike | None = None,
) -> float:
    r"""Return the mean squared distance between the cluster gradients and their buffers.

    ``sum_k q_k ||grad R_k - g^k||^2``: the last term of the paper's Eq. 5, and what its figures
    show. It bounds the exact value, `estimator_between_cluster_variance`, from above. The paper
    plots momentum in the same way, with one buffer m in the place of every g^k.

    Args:
        cluster_gradients: The gradients grad R_k, a list of arrays [K, *shape], one a variable.
        buffers: g^k, a list of arrays [K, *shape]; or one buffer for all the clusters, [1, *shape].
        cluster_probabilities: q_k [K], summing to 1. Defaults to uniform.

    Returns:
        The mean squared distance, summed over all the parameters.

    Raises:
        ValueError: Lists or shapes that do not agree, or probabilities that are not K numbers >= 0
            that sum to 1.

    Example:
        >>> gradients = [[[0.0, 1.0], [2.0, 1.0]]]
        >>> buffered_between_cluster_variance(gradients, [[[0.0, 0.0], [2.0, 0.0]]])
        1.0
        >>> buffered_between_cluster_variance(gradients, [[[1.0, 1.0]]])
        1.0

    Source: Discover paper, Section 4, Lemma 3, Eq. 5, last term.

    Cost: reads every array once, one cluster at a time.
    """
    return between_values(cluster_gradients, buffers, cluster_probabilities).buffered


def estimator_between_cluster_variance(
    cluster_gradients: Gradients,
    buffers: Gradients,
    cluster_probabilities: ArrayLike | None = None,
) -> float:
    r"""Return the between-cluster variance of the corrected gradient of one group, exactly.

    ``sum_k q_k ||grad R_k - g^k - (grad R - gbar)||^2`` with ``gbar = sum_k q_k g^k``: the
    variance over the draw of the cluster of ``v = G - g^k + gbar``. One buffer for all the
    clusters cancels: it leaves the plain value.

    Args:
        cluster_gradients: The gradients grad R_k, a list of arrays [K, *shape], one a variable.
        buffers: g^k, a list of arrays [K, *shape].
        cluster_probabilities: q_k [K], summing to 1. Defaults to uniform.

    Returns:
        The variance, summed over all the parameters.

    Raises:
        ValueError: Lists or shapes that do not agree, or probabilities that are not K numbers >= 0
            that sum to 1.

    Example:
        >>> gradients = [[[0.0, 1.0], [2.0, 1.0]]]
        >>> estimator_between_cluster_variance(gradients, [[[0.0, 0.0], [2.0, 0.0]]])
        0.0
        >>> estimator_between_cluster_variance(gradients, [[[0.0, 0.0], [0.0, 0.0]]])
        1.0

    Source: Discover paper, Section 4, the gradient noise of Eq. 4.

    Cost: reads every array once, one cluster at a time.
    """
    return between_values(cluster_gradients, buffers, cluster_probabilities).exact


class BetweenValues(NamedTuple):
    """The between-cluster values of one set of buffers.

    Attributes:
        exact: ``sum_k q_k ||d_k - sum_l q_l d_l||^2`` with ``d_k = grad R_k - g^k``.
        of_average: ``||sum_k q_k d_k||^2 = ||grad R - gbar||^2``.
    """

    exact: float
    of_average: float

    @property
    def buffered(self) -> float:
        """``sum_k q_k ||d_k||^2``, the sum of both."""
        return self.exact + self.of_average

    def error_of_step(self, gain: float, groups: int = 1) -> float:
        """Return the mean squared distance of a corrected gradient from grad R.

        ``c^2 exact / C + (1 - c)^2 of_average`` for ``v = gbar + c mean_c (G_c - g^{k_c})``: its
        variance over the draw of C clusters, and its squared bias, where every group has the
        gradient of its cluster.

        Args:
            gain: c, in (0, 1].
            groups: C.
        """
        return gain**2 * self.exact / groups + (1 - gain) ** 2 * self.of_average


def between_values(
    cluster_gradients: Gradients,
    buffers: Sequence[Any] | None,
    cluster_probabilities: ArrayLike | None = None,
    factors: Sequence[float] | None = None,
) -> BetweenValues:
    """Return all values, for the cost of one; arguments as in the functions above.

    `buffers` may hold any object with the shape of an array whose `[k]` is its row k, such as
    those of low rank; its rows are formed one after the other. `factors`, one for each variable,
    are multiplied into the buffers.
    """
    probabilities = _check_probabilities(cluster_probabilities, cluster_gradients)
    offsets = None if buffers is None else _offsets(cluster_gradients, buffers, factors)
    between, moments = Between(probabilities, offsets), Moments()
    arrays = [np.asarray(gradient) for gradient in cluster_gradients]
    for k, probability in enumerate(probabilities):
        mean = [np.asarray(array[k], np.float64) for array in arrays]
        moments.add(between.difference(k, mean), probability)
    exact = sum(float(m2.sum()) for m2 in moments.m2 or [])
    return BetweenValues(exact, sum(float(np.square(m).sum()) for m in moments.mean))


def _offsets(
    cluster_gradients: Gradients, buffers: Sequence[Any], factors: Sequence[float] | None
) -> Callable[[int], Arrays]:
    """Return the function k -> g^k times the factors, in float64."""
    if len(cluster_gradients) != len(buffers):
        raise ValueError(
            "`buffers` must hold one array for each array of `cluster_gradients`, of the same "
            f"variables. Received: {len(buffers)} buffers, {len(cluster_gradients)} gradients."
        )
    for index, (gradient, buffer) in enumerate(zip(cluster_gradients, buffers, strict=True)):
        shape, found = np.shape(gradient), np.shape(buffer)
        if found not in (shape, (1, *shape[1:])):
            raise ValueError(
                f"`buffers[{index}]` must have the shape {shape} of `cluster_gradients[{index}]`, "
                f"or one buffer for all the clusters, {(1, *shape[1:])}. Received: shape={found}."
            )
    stacks = [np.asarray(b) if hasattr(b, "__array__") else b for b in buffers]
    factors = factors or [1.0] * len(stacks)

    def of_cluster(k: int) -> Arrays:
        rows = [np.asarray(stack[min(k, len(stack) - 1)], np.float64) for stack in stacks]
        return [factor * row for factor, row in zip(factors, rows, strict=True)]

    return of_cluster


def _check_probabilities(
    cluster_probabilities: ArrayLike | None, cluster_gradients: Gradients
) -> NDArray[np.float64]:
    counts = sorted({np.shape(gradient)[0] for gradient in cluster_gradients})
    if len(counts) != 1:
        raise ValueError(
            "`cluster_gradients` must be a list of at least one array, all with the same number K "
            f"of clusters as their first dimension. Received: first dimensions={counts}."
        )
    found = check_probabilities(cluster_probabilities, counts[0])
    return np.full(counts[0], 1.0 / counts[0]) if found is None else np.array(found)
