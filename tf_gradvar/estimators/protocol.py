"""The account that a gradient estimator gives of itself to be measured.

Every estimator here averages independent draws from strata of the data (one stratum: all of it),
so its variance is a sum over the strata of a coefficient times the variance of one example:

    V[estimate] = sum_k c_k V_k,        V_k = (1/N_k) sum_{i in k} ||g_i - m_k||^2

An estimator therefore names its strata and its coefficients, and for `monte_carlo` says how to
draw the examples of one estimate. One pass over the data serves all the estimators of a call.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Gradients = list[np.ndarray]


class WeightedBatch(NamedTuple):
    """Examples to differentiate together: `sum_i coefficients_i g_i`.

    Attributes:
        indices: Their numbers, int `[B]`.
        coefficients: Float `[B]`.
        cluster: That of all of them, where an estimate needs to know it. Defaults to None.
    """

    indices: np.ndarray
    coefficients: np.ndarray
    cluster: int | None = None


# (batch, weights or None for the present ones, seed of random layers) -> sum_i a_i g_i
GradientFunction = Callable[[WeightedBatch, "Sequence[Any] | None", int], Gradients]
# weights -> mean gradient over all the data at these weights
MeanGradient = Callable[[Sequence[Any]], Gradients]


class Between(NamedTuple):
    """The part of the variance that comes from drawing the stratum itself.

    With d_k = factor_k m_k - offset_k: `scale * sum_k q_k ||d_k - sum_l q_l d_l||^2`. Without
    factors the strata are drawn with the q_k, and the estimate's mean is
    m + pull (centre - m) with m = sum_k q_k m_k; with them it is unbiased.
    """

    probabilities: np.ndarray  # q, [K]
    offsets: Callable[[int], Gradients] | None = None  # k -> arrays [*shape]; None: 0
    scale: float = 1.0
    factors: np.ndarray | None = None  # [K]; None: 1
    pull: float = 0.0
    centre: Callable[[], Gradients] | None = None  # arrays [*shape]; None: 0

    def factor(self, k: int) -> float:
        """Return factor_k."""
        return 1.0 if self.factors is None else float(self.factors[k])

    def difference(self, k: int, mean: Gradients) -> Gradients:
        """Return d_k of the stratum with the mean gradient m_k."""
        scaled = mean if self.factors is None else [self.factor(k) * m for m in mean]
        if self.offsets is None:
            return scaled
        return [d - offset for d, offset in zip(scaled, self.offsets(k), strict=True)]


class Estimator(abc.ABC):
    """A gradient estimate whose variance is measured: the base of all estimators.

    It averages independent draws from strata of the data, so that

        V[estimate] = sum_k c_k V_k,        V_k = (1/N_k) sum_{i in k} ||g_i - m_k||^2

    and an estimator of your own says what its strata, its coefficients c_k and its draws are.

    Attributes:
        name: Key of its results.
        assignments: The stratum of each example, int `[N]`. Defaults to None: all the data are
            one.
        data_fingerprint: Of the data that the assignments were found for. Defaults to None: not
            known.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.estimators import Estimator, gradient_variance
        >>> from tf_gradvar.estimators.protocol import WeightedBatch
        >>> class OneExample(Estimator):
        ...     name = "one"
        ...     def coefficients(self, sizes):
        ...         return np.ones(1)
        ...     def draw(self, members, rng):
        ...         return [WeightedBatch(rng.choice(members[0], 1), np.ones(1))]
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> gradient_variance(model, x, y, "mse", OneExample())["one"].variance
        824.0

    Source: Faghri et al. 2020, section 3 (strata) and section 4 (what is compared).

    Cost: exactly measured, one pass over the data for all estimators of the same strata.
    """

    name: str
    assignments: np.ndarray | None = None
    data_fingerprint: str | None = None

    @property
    def snapshot(self) -> Sequence[Any] | None:
        """Weights of a second gradient that is subtracted from each g_i, or None."""
        return None

    @abc.abstractmethod
    def coefficients(self, sizes: np.ndarray) -> np.ndarray:
        """Return the coefficients c_k, float `[K]`.

        Args:
            sizes: N_k, int `[K]`; `[1]` without assignments.

        Raises:
            ValueError: More draws without replacement than there are examples.
        """

    @abc.abstractmethod
    def draw(self, members: Sequence[np.ndarray], rng: np.random.Generator) -> list[WeightedBatch]:
        """Return the examples of one estimate.

        Args:
            members: The numbers of each stratum's examples, K arrays int `[N_k]`.
            rng: What decides the draws.
        """

    def between(self) -> Between | None:
        """Return the variance between strata, for estimators that draw the stratum at random."""
        return None

    def prepare(self, mean_gradient: MeanGradient) -> Any:
        """Return what `estimate` needs beside the draws; computed once a measurement.

        Args:
            mean_gradient: Function weights -> mean gradient over all the data at these weights.
        """
        return None

    def estimate(
        self, batches: list[WeightedBatch], gradient: GradientFunction, seed: int, prepared: Any
    ) -> Gradients:
        """Return one estimate. Defaults to the sum over the batches.

        Args:
            batches: What `draw` returned.
            gradient: Function (batch, weights or None for the present ones, seed of random
                layers) -> `sum_i a_i g_i`, a list of arrays `[*shape]`.
            seed: For the masks of random layers.
            prepared: What `prepare` returned.
        """
        parts = [gradient(batch, None, seed + place) for place, batch in enumerate(batches)]
        return [sum(column[1:], start=column[0]) for column in zip(*parts, strict=True)]

    def check(self, model: Any) -> None:  # noqa: B027 (most estimators fit every model)
        """Raise if the model does not fit.

        Args:
            model: The model that is measured.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


def draws_factor(sizes: np.ndarray, draws: np.ndarray, *, replacement: bool) -> np.ndarray:
    """Return V[mean of n_k draws] / V_k: 1 / n_k, times (N_k - n_k) / (N_k - 1) if distinct.

    Args:
        sizes: N_k, `[K]`.
        draws: n_k, `[K]`.
        replacement: Whether an example can be drawn twice.

    Returns:
        The factors, `[K]`.
    """
    if replacement:
        return 1.0 / draws
    # One example alone has no variance, whatever the factor: 0 / 0 becomes 0.
    return (sizes - draws) / np.maximum(sizes - 1, 1) / draws
