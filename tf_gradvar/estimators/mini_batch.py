"""The estimate of plain SGD: the mean over a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tf_gradvar.arguments import check_count
from tf_gradvar.estimators.protocol import Estimator, WeightedBatch, draws_factor


class MiniBatch(Estimator):
    """The mean gradient of a mini-batch, SG-B; SG-2B is `MiniBatch(2 * batch_size)`.

    ``V = (mean_i ||g_i||^2 - ||m||^2) / B``, times (N - B) / (N - 1) without replacement.

    Args:
        batch_size: B.
        replacement: Whether the examples are independent draws (default), or distinct as in
            an epoch that is shuffled.
        name: Key of the results. Defaults to "SG-B" with the number, and "-distinct" without
            replacement.

    Raises:
        ValueError: `batch_size` below 1.

    Example:
        >>> MiniBatch(128)
        MiniBatch(name='SG-128')
        >>> MiniBatch(2).coefficients([6]), MiniBatch(2, replacement=False).coefficients([6])
        (array([0.5]), array([0.4]))

    Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4.

    Cost: none of its own: the pass over the data is shared with the other estimators.
    """

    def __init__(self, batch_size: int, *, replacement: bool = True, name: str | None = None):
        self.batch_size = check_count("batch_size", batch_size, "the examples in a mini-batch")
        self.replacement = bool(replacement)
        self.name = name or default_name("SG", batch_size, replacement)

    def coefficients(self, sizes: np.ndarray) -> np.ndarray:
        """Return c, `[1]`."""
        sizes = np.asarray(sizes)
        check_fits(self, "batch_size", self.batch_size, int(sizes[0]), self.replacement)
        return draws_factor(sizes, np.array([self.batch_size]), replacement=self.replacement)

    def draw(self, members: Sequence[np.ndarray], rng: np.random.Generator) -> list[WeightedBatch]:
        """Return B examples of weight 1 / B."""
        chosen = rng.choice(members[0], self.batch_size, replace=self.replacement)
        return [WeightedBatch(chosen, np.full(self.batch_size, 1.0 / self.batch_size))]


def default_name(kind: str, size: int, replacement: bool) -> str:
    """Return the name of an estimator that was given none."""
    return f"{kind}-{size}{'' if replacement else '-distinct'}"


def check_fits(
    estimator: Estimator, argument: str, draws: int, available: int, replacement: bool
) -> None:
    """Raise if there are more draws without replacement than examples."""
    if not replacement and draws > available:
        raise ValueError(
            f"`{argument}` of {estimator.name!r} must be at most the {available} examples to draw "
            "from without replacement: lower it, or use replacement=True. Received: "
            f"{argument}={draws}."
        )
