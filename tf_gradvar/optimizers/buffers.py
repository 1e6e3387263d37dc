"""The buffers of the control variate, in full: one gradient for each cluster and variable."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.update_rule import ControlMoments, Groups, Rule, combine_rows


@functools.cache
def _print_once(message: str) -> None:
    print(message)


class FullBuffers:
    """K gradients g^k for each variable, stacked, and their average gbar = sum_k q_k g^k.

    Args:
        add_variable: Of the optimizer that keeps them.
        variables: The model's trainable variables.
        num_clusters: K.
        dtype: Of the g^k, "float32" or "bfloat16"; gbar is float32.

    Attributes:
        cluster_gradients: The g^k of each variable, variables [K, *shape].
        averages: gbar of each variable, variables [*shape].
    """

    def __init__(
        self,
        add_variable: Callable[[Sequence[int], str, str], Any],
        variables: Sequence[Any],
        num_clusters: int,
        dtype: str,
    ) -> None:
        self.cluster_gradients: list[Any] = []
        self.averages: list[Any] = []
        for variable in variables:
            name = variable.path.replace("/", "_")
            stacked = (num_clusters, *variable.shape)
            self.cluster_gradients.append(add_variable(stacked, dtype, f"{name}_cluster_gradients"))
            self.averages.append(
                add_variable(variable.shape, "float32", f"{name}_mean_cluster_gradient")
            )
        self._num_clusters, self._size = num_clusters, 4 if dtype == "float32" else 2

    def announce(self, optimizer: str) -> None:
        """Print the memory of the buffers, once for each text in a process.

        Args:
            optimizer: The name of the optimizer's class.
        """
        weights = sum(math.prod(average.shape) for average in self.averages)
        megabytes = (self._num_clusters * self._size + 4) * weights / 1e6
        _print_once(
            f"{optimizer} keeps {self._num_clusters} + 1 gradient buffers of "
            f"{weights:,} weights: {megabytes:,.1f} MB."
        )

    def correct(
        self, groups: Groups, probabilities: Any, rule: Rule
    ) -> tuple[list[Any], list[ControlMoments]]:
        """Return the corrected gradient v of each variable and move the buffers.

        Args:
            groups: Of the step on this replica; None for a variable without a gradient.
            probabilities: q, float [K].
            rule: The numbers of the update rule.

        Returns:
            v for each variable, None where the gradient is; and the moments of the control
            variate for each variable with a gradient, an empty list for a rule without scales.
        """
        given = [i for i, gradient in enumerate(groups.gradients) if gradient is not None]
        if rule.scales is not None:
            rule = rule._replace(scales=[rule.scales[i] for i in given])
        found, moments = backend.correct(
            groups._replace(gradients=[groups.gradients[i] for i in given]),
            [self.cluster_gradients[i] for i in given],
            [self.averages[i] for i in given],
            probabilities,
            rule,
        )
        corrected: list[Any] = [None] * len(groups.gradients)
        for i, gradient in zip(given, found, strict=True):
            corrected[i] = gradient
        return corrected, moments

    def transfer(self, shares: Any, probabilities: Any) -> None:
        """Make buffers for other clusters: mixtures of the old ones, and their average anew.

        Args:
            shares: Of the old clusters in each new one, float [K, K]; None: gbar for all.
            probabilities: Of the new clusters, float [K].
        """
        for buffers, average in zip(self.cluster_gradients, self.averages, strict=True):
            if shares is None:
                new = ops.broadcast_to(ops.convert_to_tensor(average), buffers.shape)
            else:
                new = combine_rows(shares, ops.cast(buffers, "float32"))
            buffers.assign(ops.cast(new, buffers.dtype))
            average.assign(combine_rows(probabilities, ops.cast(buffers, "float32")))

    def check_saved(self, saved: Any, optimizer: str) -> None:
        """Raise unless the first of the saved buffers has the shape of the first of these.

        Args:
            saved: An array.
            optimizer: The name of the optimizer's class.

        Raises:
            ValueError: If the file was written with another number of clusters.
        """
        found, needed = tuple(saved.shape), tuple(self.cluster_gradients[0].shape)
        if found != needed:
            raise ValueError(
                f"The saved state of {optimizer} holds cluster buffers of shape {found}, this "
                f"optimizer needs {needed}: the first number is `num_clusters`, which must be that "
                f"of the run that saved the file. Received: num_clusters={needed[0]}."
            )


def check_transfer(transfer: Any, num_clusters: int) -> Any:
    """Return the shares of old clusters in new ones as a tensor [K, K], or raise.

    Raises:
        ValueError: Unless its rows are shares that sum to 1.
    """
    shares = np.asarray(transfer, np.float64)
    valid = shares.shape == (num_clusters, num_clusters) and bool((shares >= 0).all())
    if not valid or np.abs(shares.sum(axis=1) - 1.0).max() > 1e-6:
        raise ValueError(
            f"`transfer` must hold the shares of the {num_clusters} old clusters in each of the "
            f"{num_clusters} new ones: rows of numbers >= 0 that sum to 1. Received an array of "
            f"shape {shares.shape}{f' with rows that sum to {_shown(shares)}' if valid else ''}. "
            "`tf_gradvar.optimizers.cluster_transfer` counts them."
        )
    return ops.convert_to_tensor(shares, dtype="float32")


def _shown(shares: np.ndarray) -> str:
    sums = shares.sum(axis=1)
    return f"{sums.min():g} to {sums.max():g}"
