"""The share of every batch that one input worker of `tf.distribute` makes: that of its replicas."""

from __future__ import annotations

import dataclasses
from typing import Any

from tf_gradvar.arguments import check_count
from tf_gradvar.ownership import Ownership


@dataclasses.dataclass(frozen=True)
class WorkerShare:
    """The replicas of one worker, and their groups in a batch of all replicas.

    Attributes:
        worker: Its number.
        num_workers: Of how many.
        num_replicas: The replicas of all workers.
        groups: The groups of a batch on each replica.
    """

    worker: int
    num_workers: int
    num_replicas: int
    groups: int

    @property
    def replicas(self) -> range:
        """The replicas of the worker."""
        own = self.num_replicas // self.num_workers
        return range(self.worker * own, (self.worker + 1) * own)

    @property
    def places(self) -> range:
        """The places of its groups among those of a batch."""
        return range(self.replicas.start * self.groups, self.replicas.stop * self.groups)

    def clusters(self, ownership: Ownership | None, num_clusters: int) -> range:
        """Return the clusters that the worker draws from.

        Args:
            ownership: Of the clusters, or None where every replica draws from all of them.
            num_clusters: K.
        """
        if ownership is None:
            return range(num_clusters)
        last = self.replicas.stop - 1
        stop = int(ownership.starts[last] + ownership.counts[last])
        return range(int(ownership.starts[self.replicas.start]), stop)


def check_owned_by(
    owned_by: Any, num_clusters: int, groups: int, order: str, run_length: int
) -> int | None:
    """Return how many replicas own the clusters, or None, or raise."""
    if owned_by is None:
        return None
    owned_by = check_count("owned_by", owned_by, "the replicas that own the clusters")
    Ownership(num_clusters, owned_by)
    if groups % owned_by:
        raise ValueError(
            "`groups_per_batch` must be a multiple of `owned_by`, so that replicas take equally "
            f"many groups. Received: groups_per_batch={groups} and owned_by={owned_by}."
        )
    if run_length > 1:
        raise ValueError(
            "`run_length` must be 1 with `owned_by`: replicas draw in turns, so that groups in a "
            f"row are of different replicas. Received: run_length={run_length}."
        )
    if order != "random" and owned_by > 1:
        raise ValueError(
            "`order` must be 'random' with `owned_by`: replicas draw from clusters of their own, "
            f"not in one cycle through all of them. Received: order={order!r}."
        )
    return owned_by


def share_of_worker(
    input_context: Any, groups_per_batch: int, owned_by: int | None
) -> WorkerShare | None:
    """Return the share of a worker, None for whole batches, or raise.

    Args:
        input_context: A `tf.distribute.InputContext`, or None.
        groups_per_batch: C.
        owned_by: The replicas that own the clusters, or None.

    Raises:
        ValueError: If the groups do not divide among the replicas, or other replicas own the
            clusters.
    """
    if input_context is None:
        return None
    import tensorflow as tf

    if not isinstance(input_context, tf.distribute.InputContext):
        raise ValueError(
            "`input_context` must be the `tf.distribute.InputContext` that "
            "`strategy.distribute_datasets_from_function` passes on. Received: "
            f"input_context={input_context!r}."
        )
    replicas, workers = input_context.num_replicas_in_sync, input_context.num_input_pipelines
    if groups_per_batch % replicas:
        raise ValueError(
            f"`groups_per_batch` must be a multiple of the {replicas} replicas. Received: "
            f"groups_per_batch={groups_per_batch}."
        )
    if owned_by not in (None, replicas):
        raise ValueError(
            f"`owned_by` must be the number of replicas of the strategy, {replicas}. Received: "
            f"owned_by={owned_by}."
        )
    worker = input_context.input_pipeline_id
    return WorkerShare(worker, workers, replicas, groups_per_batch // replicas)
