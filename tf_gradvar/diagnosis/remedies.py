r"""Predicted variances of what could be done about the noise, from the same pass.

With N_k of N examples in group k, V_k their variance and V that of all examples:

    batch of B           V / B
    strata               sum_k (N_k/N)^2 V_k / e_k, plus the random numbers of draws
    one group a step     sum_k q_k V_k / B + sum_k q_k ||m_k - m||^2
    Discover, gain 1     (1/C) sum_k q_k (1 + rho (1 - q_k)) V_k / n,   rho = alpha / (2 - alpha)
    SVRG                 (mean ||g_i - g~_i||^2 - ||m - m~||^2) / B

for C groups of n = B / C examples, q_k = N_k / N. A buffer that moves by alpha towards the mean of
n fresh examples at every visit has the variance rho V_k / n around the mean gradient of its group,
if the weights stand still as long as it remembers: that is the assumption of a steady state. With
e_k expected draws from each group, strata are those that `stratified_batches` draws.

Source: Faghri et al. 2020, sections 3 and 4; Discover paper, Section 4, Eq. 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tf_gradvar.diagnosis.group_moments import GroupMoments, Prediction
from tf_gradvar.estimators.protocol import Between
from tf_gradvar.estimators.stratified import Stratified
from tf_gradvar.sampling import DrawingRule

ALPHA = 0.1


@dataclass(frozen=True)
class GroupSteps:
    """How a batch of B is divided into groups for Discover.

    Attributes:
        groups: C, the groups in a step.
        group_size: n, the examples in each.
    """

    groups: int
    group_size: int

    @classmethod
    def of(cls, batch_size: int, num_clusters: int) -> GroupSteps:
        """Return the most groups that divide the batch, at most one for each cluster.

        Example:
            >>> GroupSteps.of(32, 10)
            GroupSteps(groups=8, group_size=4)
        """
        most = min(batch_size, num_clusters)
        groups = next(count for count in range(most, 0, -1) if batch_size % count == 0)
        return cls(groups, batch_size // groups)


def strata(moments: GroupMoments, batch_size: int) -> Prediction:
    """Return the variance of `stratified_batches(..., batch_size=B)`."""
    design = DrawingRule.of(batch_size=batch_size).design(moments.assignments)
    return moments.predict(Stratified(design))


def one_group_a_step(moments: GroupMoments, batch_size: int) -> Prediction:
    """Return the variance of batches of one group each, drawn by its share of the data."""
    shares = moments.sizes / moments.sizes.sum()
    return moments.predict_sum(shares / batch_size, Between(shares))


def discover(moments: GroupMoments, batch_size: int, groups: int) -> Prediction:
    """Return the variance of Discover's corrected gradient, gain 1, buffers in a steady state."""
    shares = moments.sizes / moments.sizes.sum()
    rho = ALPHA / (2.0 - ALPHA)
    # C n = B, whatever the number of groups.
    group_size = batch_size // groups
    return moments.predict_sum(shares * (1.0 + rho * (1.0 - shares)) / (groups * group_size))


def memory_of_buffers(num_clusters: int, groups: int) -> float:
    """Return how many steps a buffer remembers, K / (C alpha)."""
    return num_clusters / (groups * ALPHA)


def equivalent_batch_size(batch_size: int, plain: float, variance: float) -> float:
    """Return the plain batch that varies as little: B V_plain / V."""
    with np.errstate(divide="ignore"):
        return float(np.float64(batch_size * plain) / variance)
