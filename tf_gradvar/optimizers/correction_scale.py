"""The scale of the correction, learned for each variable from the steps that were taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from tf_gradvar.optimizers.update_rule import ControlMoments


class LearnedScale:
    """For each variable beta = Cov / Var, in [0, 1], of past steps: the control variate's best.

    With h = mean_c g^{k_c} - gbar, which has the mean 0 over the draws of clusters, the variance of
    mean_c G_c - beta h is smallest at

        beta = Cov(mean_c G_c, h) / Var(h),   Cov = E <mean_c G_c - gbar, h>,   Var = E <h, h>

    Both expectations are moving averages over the steps before, so that beta does not depend on
    the groups of its own step and v stays unbiased. Without any evidence beta is 0, the plain
    gradient. h has the mean 0 where clusters are drawn with their probabilities at every step; in
    an order that leaves out what was just seen it has not, and beta comes out too large.

    Args:
        add_variable: Of the optimizer that keeps them.
        num_variables: How many variables the optimizer was built with.
        forgetting: The weight of a step in the moving averages, in (0, 1].

    Attributes:
        values: beta of each variable, a float32 variable [V].

    Source: control variates, as in the Discover paper, Section 4; the scale is ours.
    """

    def __init__(
        self,
        add_variable: Callable[[Sequence[int], str, str], Any],
        num_variables: int,
        forgetting: float,
    ) -> None:
        shape = (num_variables,)
        self.values = add_variable(shape, "float32", "correction_scale")
        self._covariances = add_variable(shape, "float32", "correction_covariances")
        self._variances = add_variable(shape, "float32", "correction_variances")
        self._forgetting = forgetting

    def of_variables(self) -> list[Any]:
        """Return beta for each variable, a list of scalars."""
        return ops.unstack(ops.convert_to_tensor(self.values))

    def learn(self, moments: Sequence[ControlMoments], given: Sequence[int]) -> None:
        """Take the moments of a step into the averages.

        Args:
            moments: Of the variables with a gradient.
            given: The indices of these variables.
        """
        if not moments:
            return
        places = ops.one_hot(list(given), self.values.shape[0])
        weights = self._forgetting * ops.sum(places, axis=0)
        for held, found in (
            (self._covariances, [moment.covariance for moment in moments]),
            (self._variances, [moment.variance for moment in moments]),
        ):
            new = ops.matmul(ops.stack(found), places)
            held.assign(held + weights * (new - held))
        covariances, variances = map(ops.convert_to_tensor, (self._covariances, self._variances))
        self.values.assign(ops.clip(ops.divide_no_nan(covariances, variances), 0.0, 1.0))
