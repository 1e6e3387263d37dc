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
def print_once(message: str) -> None:
    """Print a message, once in a process.

    Args:
        message: The message.
    """
    print(message)


class FullBuffers:
    """K gradients g^k for each variable, stacked, and their average gbar = sum_k q_k g^k.

    Args:
        add_variable: Of the optimizer that keeps them.
        variables: The model's trainable variables.
        num_clusters: K.
        dtype: Of the g^k, "float32" or "bfloat16"; gbar is float32.
        add_stack: In place of `add_variable` for the g^k.

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
        add_stack: Callable[[Sequence[int], str, str], Any] | None = None,
    ) -> None:
        add_stack = add_stack or add_variable
        self.cluster_gradients: list[Any] = []
        self.averages: list[Any] = []
        for variable in variables:
            name = variable.path.replace("/", "_")
            stacked = (num_clusters, *variable.shape)
            self.cluster_gradients.append(add_stack(stacked, dtype, f"{name}_cluster_gradients"))
            self.averages.append(
                add_variable(variable.shape, "float32", f"{name}_mean_cluster_gradient")
            )
        self._num_clusters, self._size = num_clusters, 4 if dtype == "float32" else 2

    @property
    def variables(self) -> list[Any]:
        """The buffers and averages, in the order in which they are saved."""
        pairs = zip(self.cluster_gradients, self.averages, strict=True)
        return [variable for pair in pairs for variable in pair]

    def announce(self, optimizer: str) -> None:
        """Print the memory of the buffers, once for each text in a process.

        Args:
            optimizer: The name of the optimizer's class.
        """
        weights = sum(math.prod(average.shape) for average in self.averages)
        print_once(
            f"{optimizer} keeps {self._num_clusters} + 1 gradient buffers of "
            f"{weights:,} weights: {self._megabytes(weights):,.1f} MB."
        )

    def _megabytes(self, weights: float) -> float:
        """Return the memory of the K buffers of so many weights and of their average."""
        return (self._num_clusters * self._size + 4) * weights / 1e6

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
        groups_given, rule = part_of_step(groups, rule, given)
        found, moments = backend.correct(
            groups_given,
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


def part_of_step(groups: Groups, rule: Rule, places: Sequence[int]) -> tuple[Groups, Rule]:
    """Return the groups and the rule of some of the variables.

    Args:
        groups: Of the step.
        rule: Of the step.
        places: The indices of these variables.
    """
    if rule.scales is not None:
        rule = rule._replace(scales=[rule.scales[i] for i in places])
    return groups._replace(gradients=[groups.gradients[i] for i in places]), rule


def check_saved(found: Sequence[tuple[int, ...]], variables: Sequence[Any], settings: Any) -> None:
    """Raise unless the saved buffers have the shapes of these.

    Args:
        found: The shapes in the file, from the place of the first of the variables on.
        variables: Of the buffers.
        settings: The optimizer, which tells its own.

    Raises:
        ValueError: If the file was written with other buffers.
    """
    for shape, variable in zip(found, variables, strict=False):
        if shape != tuple(variable.shape):
            raise ValueError(
                f"The saved state of {type(settings).__name__} holds cluster buffers of shape "
                f"{shape}, this optimizer needs {tuple(variable.shape)}: `num_clusters`, `buffers` "
                "and `rank` must be those of the run that saved the file. Received: "
                f"num_clusters={settings.num_clusters}, buffers={settings.buffers!r}, "
                f"rank={settings.rank}."
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
