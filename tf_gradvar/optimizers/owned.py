"""The buffers of the control variate where each replica keeps those of its own clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import keras
import numpy as np
from keras import ops

from tf_gradvar.keras_internals import track_variables
from tf_gradvar.optimizers.backend import functions as backend
from tf_gradvar.optimizers.buffers import FullBuffers, part_of_step, print_once
from tf_gradvar.optimizers.owned_rule import (
    Draws,
    correct_owned,
    owned_draws,
    owned_weights,
    take_in,
)
from tf_gradvar.optimizers.stacked_rows import read_rows, write_rows
from tf_gradvar.optimizers.update_rule import ControlMoments, Groups, Rule, as_column, combine_rows
from tf_gradvar.ownership import Ownership


class OwnedBuffers(FullBuffers):
    """K gradients g^k for each variable, of which a replica keeps those of its own clusters.

    `tf_gradvar.optimizers.owned_rule` has the rule, `tf_gradvar.ownership` who owns what. With R
    replicas of `tf.distribute` a stack is a variable in R pieces. On JAX it is one array whose rows
    lie on the devices of the batch axis of `keras.distribution`, and the groups of a step belong to
    them in that order. Saved files are those of `FullBuffers`, on any number of replicas.

    Args:
        optimizer: That keeps them.
        variables: The model's trainable variables.
        probabilities: q, K floats; K is at least R, on JAX a multiple of R.

    Attributes:
        ownership: Of the clusters.
    """

    def __init__(
        self,
        optimizer: Any,
        variables: Sequence[Any],
        probabilities: Sequence[float],
    ) -> None:
        num_clusters = len(probabilities)
        self.ownership = Ownership(num_clusters, backend.num_owners(optimizer))
        self.ownership.masses(probabilities)

        def add_stack(shape: Sequence[int], dtype: str, name: str) -> Any:
            if self.ownership.num_replicas == 1:
                return optimizer.add_shared_variable(shape, dtype, name)
            with keras.name_scope(optimizer.name, caller=optimizer):
                stack = backend.make_owned_stack(optimizer, self.ownership, shape, name)
            track_variables(optimizer, [stack])
            return stack

        add_variable = optimizer.add_shared_variable
        super().__init__(add_variable, variables, num_clusters, "float32", add_stack)

    def announce(self, optimizer: str) -> None:
        """Print the memory of the buffers on each replica, once for each text in a process.

        Args:
            optimizer: The name of the optimizer's class.
        """
        if self.ownership.num_replicas == 1:
            super().announce(optimizer)
            return
        weights = sum(math.prod(average.shape) for average in self.averages)
        most = self.ownership.most
        print_once(
            f"{optimizer} keeps {most} + 1 gradient buffers of {weights:,} weights on each of "
            f"{self.ownership.num_replicas} replicas: {(most + 1) * 4 * weights / 1e6:,.1f} MB."
        )

    def without_foreign(self, groups: Groups, skipped: Any) -> tuple[Groups, Any]:
        """Return the groups without those of clusters that other replicas own, and a count.

        Args:
            groups: Of the step on this replica.
            skipped: How many were left out so far, an int32 scalar.
        """
        own = ops.equal(ops.take(self._owners(), groups.clusters), self._replicas(groups))
        foreign = ops.logical_and(groups.valid, ops.logical_not(own))
        # Whatever is left out gets a cluster that the replica has a row for.
        valid, first = ops.logical_and(groups.valid, own), self._firsts(groups)
        clusters = ops.where(valid, groups.clusters, first)
        more = ops.sum(ops.cast(foreign, "int32"))
        return groups._replace(valid=valid, clusters=clusters), skipped + more

    def correct(
        self, groups: Groups, probabilities: Any, rule: Rule
    ) -> tuple[list[Any], list[ControlMoments]]:
        """Return the corrected gradient v of each variable, and move the replica's buffers.

        Arguments and result are those of `FullBuffers.correct`; there are no moments.

        Cost: a sum over the replicas of as many numbers as there are weights, twice as many for a
        rule with scales.
        """
        given = [i for i, gradient in enumerate(groups.gradients) if gradient is not None]
        groups_given, rule = part_of_step(groups, rule, given)
        draws = owned_draws(
            probabilities,
            self._owners(),
            self.ownership.num_replicas,
            groups.clusters.shape[0] // self._blocks,
            rule.alpha,
        )
        take_in_all = self._take_in_one_block if self._blocks == 1 else self._take_in_blocks
        stacks = [self.cluster_gradients[i] for i in given]
        sums = take_in_all(stacks, groups_given, draws, rule.scales is not None)
        if backend.num_replicas() > 1 and given:
            sums = list(backend.sum_over_replicas(sums))
        totals, of_buffers = sums[: len(given)], sums[len(given) :]
        corrected: list[Any] = [None] * len(groups.gradients)
        for place, i in enumerate(given):
            average, total = ops.convert_to_tensor(self.averages[i]), totals[place]
            if rule.scales is None:
                corrected[i] = correct_owned(average, total, rule.gain)
            else:
                scale, held = rule.scales[place], of_buffers[place]
                corrected[i] = correct_owned(average, total, rule.gain, scale, held)
            # gbar <- gbar + a S
            backend.add_scaled(self.averages[i], draws.of_average, total)
        return corrected, []

    def _take_in_one_block(
        self, stacks: Sequence[Any], groups: Groups, draws: Draws, with_buffers: bool
    ) -> list[Any]:
        """Return this replica's part of S for each variable, then of H if asked, and move rows."""
        weights = owned_weights(groups.valid, groups.clusters, draws)
        rows = groups.clusters - self._firsts(groups)
        parts, of_buffers = [], []
        for stack, gradient in zip(stacks, groups.gradients, strict=True):
            held = backend.rows_of(stack, rows)
            deviations = ops.where(as_column(groups.valid, gradient), gradient - held, 0.0)
            part, moved = take_in(deviations, held, weights)
            parts.append(part)
            if with_buffers:
                of_buffers.append(combine_rows(weights.of_groups, held))
            backend.put_rows(stack, rows, moved)
        return parts + of_buffers

    def _take_in_blocks(
        self, stacks: Sequence[Any], groups: Groups, draws: Draws, with_buffers: bool
    ) -> list[Any]:
        """Return the sums of all blocks, as the definition has them: one map over the blocks.

        XLA lays the blocks on the devices that hold them and adds their parts up between them.
        """

        def of_block(block: Any) -> Any:
            valid, clusters, rows, *tensors = block
            weights = owned_weights(valid, clusters, draws)
            results = []
            for stack, gradient in zip(tensors[::2], tensors[1::2], strict=True):
                held = read_rows(stack, rows)
                deviations = ops.where(as_column(valid, gradient), gradient - held, 0.0)
                part, moved = take_in(deviations, held, weights)
                of_buffers = combine_rows(weights.of_groups, held)
                results.append((part, of_buffers, write_rows(stack, rows, moved)))
            return results

        rows = groups.clusters - self._firsts(groups)
        tensors = [groups.valid, groups.clusters, rows]
        for stack, gradient in zip(stacks, groups.gradients, strict=True):
            tensors += [ops.convert_to_tensor(stack), gradient]
        blocks = [ops.reshape(t, (self._blocks, -1, *t.shape[1:])) for t in tensors]
        found = ops.vectorized_map(of_block, blocks)
        for stack, (_, _, moved) in zip(stacks, found, strict=True):
            stack.assign(ops.reshape(moved, stack.shape))
        parts = [ops.sum(part, axis=0) for part, _, _ in found]
        return parts + [ops.sum(held, axis=0) for _, held, _ in found if with_buffers]

    @property
    def _blocks(self) -> int:
        """How many blocks of clusters this program holds: all of them, or a replica's own."""
        return 1 if backend.BLOCKS_ARE_REPLICAS else self.ownership.num_replicas

    def _owners(self) -> Any:
        return ops.convert_to_tensor(self.ownership.owners, "int32")

    def _replicas(self, groups: Groups) -> Any:
        """Return the replica of each group, int32 [C], or of all, a scalar."""
        if backend.BLOCKS_ARE_REPLICAS:
            return backend.replica_id()
        each = groups.clusters.shape[0] // self._blocks
        return ops.convert_to_tensor(np.repeat(np.arange(self._blocks), each), "int32")

    def _firsts(self, groups: Groups) -> Any:
        """Return the first cluster that the replica of each group owns."""
        starts = ops.convert_to_tensor(self.ownership.starts, "int32")
        return ops.take(starts, self._replicas(groups))

    def check_step(self, num_groups: int, group_sizes: Any) -> None:
        """Raise unless a step fits the replicas.

        Args:
            num_groups: The groups that `correct_gradients` was given.
            group_sizes: The sizes that it was given, or None.

        Raises:
            ValueError: If the groups have sizes or do not divide among the blocks, or the step is
                taken outside of `strategy.run`.
        """
        if group_sizes is not None:
            raise ValueError(
                "`group_sizes` must be None with `buffers='owned'`, whose replicas take equally "
                "many groups of equal size. Received: sizes. Make the batches with "
                "`cluster_batches(..., owned_by=...)`, and set `model.groups_per_batch` where the "
                "model does not get them directly."
            )
        count = self.ownership.num_replicas
        if backend.BLOCKS_ARE_REPLICAS and backend.num_replicas() != count:
            raise ValueError(
                "`correct_gradients` with owned clusters must be called on the replicas that own "
                f"them, inside of `strategy.run`. Received: a call on {backend.num_replicas()} of "
                f"{count} replicas. Make and train the optimizer under one strategy."
            )
        if num_groups % self._blocks:
            raise ValueError(
                "`group_clusters` must name as many groups for each of the devices that own "
                f"clusters. Received: {num_groups} groups for {count} devices."
            )

    def transfer(self, shares: Any, probabilities: Any) -> NoReturn:
        """Refuse to change the clusters."""
        raise ValueError(
            "`recluster` does not go with `buffers='owned'`: a cluster's examples lie where its "
            f"buffer is. Received: {self.ownership.num_clusters} clusters owned by "
            f"{self.ownership.num_replicas} replicas. Train with `buffers='full'`."
        )
