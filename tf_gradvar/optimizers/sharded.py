"""The buffers of the control variate in slices of the weights, one slice on each device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tf_gradvar.optimizers.backend.sharded_weights import batch_axis_of
from tf_gradvar.optimizers.buffers import FullBuffers, print_once
from tf_gradvar.optimizers.update_rule import ControlMoments, Groups, Rule


class ShardedBuffers(FullBuffers):
    """K gradients g^k for each variable, of which each of R devices keeps a slice of all.

    A slice goes along the first axis of the variable whose size R divides; a variable without one
    is kept in full by all. A step sends each device its slice of the group gradients (all-to-all),
    applies `update_rule.update` to it, and collects v (all-gather): as many bytes as SGD's
    all-reduce with one group on each device. Draws, numbers and saved files are those of full
    buffers. Without `keras.distribution` there is one slice.

    Args:
        add_variable: Of the optimizer that keeps them.
        variables: The model's trainable variables.
        num_clusters: K.
        dtype: Of the g^k, "float32" or "bfloat16"; gbar is float32.
    """

    def __init__(
        self,
        add_variable: Callable[[Sequence[int], str, str], Any],
        variables: Sequence[Any],
        num_clusters: int,
        dtype: str,
    ) -> None:
        super().__init__(add_variable, variables, num_clusters, dtype)
        self._batch_axis = batch_axis_of(self.averages[0]) if self.averages else None
        self._axes: list[int | None] = [None] * len(self.averages)
        if self._batch_axis is None:
            return
        for i, (stack, average) in enumerate(
            zip(self.cluster_gradients, self.averages, strict=True)
        ):
            axis = self._axes[i] = self._batch_axis.dividing_axis(average.shape)
            if axis is not None:
                self._batch_axis.divide_variable(stack, axis + 1)
                self._batch_axis.divide_variable(average, axis)

    def announce(self, optimizer: str) -> None:
        """Print the memory of the buffers on each device, once for each text in a process.

        Args:
            optimizer: The name of the optimizer's class.
        """
        if self._batch_axis is None:
            super().announce(optimizer)
            return
        parts = [1 if axis is None else self._batch_axis.count for axis in self._axes]
        weights = [math.prod(average.shape) for average in self.averages]
        kept = sum(n / part for n, part in zip(weights, parts, strict=True))
        print_once(
            f"{optimizer} keeps {self._num_clusters} + 1 gradient buffers of {sum(weights):,} "
            f"weights in slices on {self._batch_axis.count} devices: "
            f"{self._megabytes(kept):,.1f} MB on each."
        )

    def correct(
        self, groups: Groups, probabilities: Any, rule: Rule
    ) -> tuple[list[Any], list[ControlMoments]]:
        """Return the corrected gradient v of each variable and move the buffers.

        Arguments and result are those of `FullBuffers.correct`.
        """
        if self._batch_axis is None:
            return super().correct(groups, probabilities, rule)
        gradients = [
            g if g is None or axis is None else self._batch_axis.divided(g, axis + 1)
            for g, axis in zip(groups.gradients, self._axes, strict=True)
        ]
        found, moments = super().correct(groups._replace(gradients=gradients), probabilities, rule)
        corrected = [
            v if v is None or axis is None else self._batch_axis.whole(v)
            for v, axis in zip(found, self._axes, strict=True)
        ]
        return corrected, moments
