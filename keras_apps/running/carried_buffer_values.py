"""What carried buffers would leave of the between-cluster variance, all at the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_apps.experiments import carried_buffers as carried
from keras_apps.experiments.carried_buffers import CarriedBuffers, value_name
from tf_gradvar.callbacks import BetweenClusterVariance
from tf_gradvar.callbacks.momentum import on_host
from tf_gradvar.estimators.between_clusters import between_values


class CarriedBufferValues(BetweenClusterVariance):
    """Measures the distance of the carried buffers, and of steps with them, from the gradients.

    With the exact gradients grad R_k of the clusters at the present weights, and for each alpha:

    * ``sgd``: sum_k q_k ||grad R_k - grad R||^2, without a buffer;
    * ``buffer_for_all``: sum_k q_k ||grad R_k - m||^2, the paper's value for momentum;
    * ``buffer_for_each``: sum_k q_k ||grad R_k - g^k||^2, the paper's value for Discover;
    * ``left_in_step``: sum_k q_k ||grad R_k - g^k - (grad R - gbar)||^2;
    * ``error_of_sgd``, ``error_of_momentum``, ``error_of_gain_1``, ``error_of_gain_alpha``: how far
      the direction of a step of C groups is from grad R in the mean square, squared bias included,
      as far as it comes from which clusters were drawn and from what the buffers hold: of
      mean_c G_c, of m + alpha (mean_c G_c - m), and of both readings of Eq. 4.

    Args:
        *data: Examples, targets, clusters, K and q, as `BetweenClusterVariance` takes them.
        groups: C.
        **options: Of `BetweenClusterVariance`.

    Source: Discover paper, Section 5 and Eq. 5, there with each optimizer at its own weights.
    """

    def __init__(self, *data: Any, groups: int, **options: Any) -> None:
        super().__init__(*data, **options)
        self._groups = groups

    def measure(self) -> dict[str, float]:
        """Return the values at the model's present weights, by name."""
        optimizer = self.model.optimizer
        gradients = self.cluster_gradients()
        plain = between_values(gradients, None, self._probabilities).exact
        values = {"sgd": plain, "error_of_sgd": plain / self._groups}
        for alpha in optimizer.alphas:
            values |= self._of_alpha(alpha, optimizer, gradients)
        return values

    def _of_alpha(
        self, alpha: float, optimizer: CarriedBuffers, gradients: list[np.ndarray]
    ) -> dict[str, float]:
        of_all, of_each = (
            between_values(gradients, [on_host(buffer) for buffer in buffers], self._probabilities)
            for buffers in (optimizer.one_buffer(alpha), optimizer.buffers_of_clusters(alpha))
        )
        found = {
            carried.BUFFER_FOR_ALL: of_all.buffered,
            carried.BUFFER_FOR_EACH: of_each.buffered,
            carried.LEFT: of_each.exact,
            carried.ERROR_OF_MOMENTUM: of_all.error_of_step(alpha, self._groups),
            carried.ERROR_OF_GAIN_1: of_each.error_of_step(1.0, self._groups),
            carried.ERROR_OF_GAIN_ALPHA: of_each.error_of_step(alpha, self._groups),
        }
        return {value_name(name, alpha): value for name, value in found.items()}

    def missing(self) -> dict[str, float]:
        """Return nothing: the values are recorded at every evaluation, or not at all."""
        return {}
