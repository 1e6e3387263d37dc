"""Ownership of clusters: which replica draws from a cluster and keeps its buffer.

Replica r of R owns a block of clusters that follow each other; the blocks differ by one cluster at
most, the larger ones first. It draws cluster k of its block with the probability

    p(k|r) = q_k / Q_r,     Q_r = the sum of q over its block

With it, every group of the replica counts with the same weight q_k / p(k|r) = Q_r in an unbiased
mean. That mean has the least noise where all Q_r are 1 / R; `balanced_order` numbers clusters so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ownership:
    """The blocks of K clusters that R replicas own.

    Args:
        num_clusters: K.
        num_replicas: R, at most K.

    Raises:
        ValueError: If there are more replicas than clusters.

    Example:
        >>> from tf_gradvar.ownership import Ownership
        >>> blocks = Ownership(num_clusters=5, num_replicas=2)
        >>> blocks.starts.tolist(), blocks.counts.tolist(), blocks.owners.tolist()
        ([0, 3], [3, 2], [0, 0, 0, 1, 1])
    """

    num_clusters: int
    num_replicas: int

    def __post_init__(self) -> None:
        if self.num_replicas > self.num_clusters:
            raise ValueError(
                "`num_clusters` must be at least the number of replicas with owned clusters, so "
                "that each owns one. "
                f"Received: num_clusters={self.num_clusters} with {self.num_replicas} replicas. "
                "Take fewer replicas, more clusters, or `buffers='full'`."
            )

    @property
    def counts(self) -> np.ndarray:
        """How many clusters each replica owns, int64 [R]."""
        least, rest = divmod(self.num_clusters, self.num_replicas)
        return least + (np.arange(self.num_replicas) < rest)

    @property
    def starts(self) -> np.ndarray:
        """The first cluster of each replica, int64 [R]."""
        return np.cumsum(self.counts) - self.counts

    @property
    def owners(self) -> np.ndarray:
        """The replica that owns each cluster, int64 [K]."""
        return np.repeat(np.arange(self.num_replicas), self.counts)

    @property
    def most(self) -> int:
        """The most clusters that a replica owns."""
        return int(self.counts[0])

    def masses(self, probabilities: Sequence[float]) -> np.ndarray:
        """Return Q_r, the probability of each replica's block, float64 [R].

        Args:
            probabilities: q, K floats.

        Raises:
            ValueError: If a replica owns nothing but clusters of probability 0.
        """
        masses = np.add.reduceat(np.asarray(probabilities, np.float64), self.starts)
        if not (masses > 0).all():
            raise ValueError(
                "`cluster_probabilities` must leave every replica a cluster that it can draw. "
                f"Received: probabilities of 0 for all {int(self.counts[masses.argmin()])} "
                f"clusters of replica {int(masses.argmin())}. Number the clusters in the order of "
                "`tf_gradvar.ownership.balanced_order`."
            )
        return masses


def balanced_order(probabilities: Sequence[float], num_replicas: int) -> np.ndarray:
    """Return the clusters in an order whose blocks are of about equal probability, int64 [K].

    The most probable cluster goes to the replica that has the least so far, and so on, as long as
    it owns fewer clusters than its block holds.

    Args:
        probabilities: q, K floats.
        num_replicas: R, at most K.

    Example:
        >>> import numpy as np
        >>> from tf_gradvar.ownership import balanced_order
        >>> q = np.array([0.4, 0.3, 0.2, 0.1])
        >>> order = balanced_order(q, num_replicas=2)
        >>> order.tolist()
        [0, 3, 1, 2]
        >>> clusters = np.array([0, 0, 1, 3])  # of four examples, and with their new numbers:
        >>> np.argsort(order)[clusters].tolist(), q[order].tolist()
        ([0, 0, 2, 1], [0.4, 0.1, 0.3, 0.2])
    """
    q = np.asarray(probabilities, np.float64)
    counts = Ownership(len(q), num_replicas).counts
    blocks: list[list[int]] = [[] for _ in counts]
    masses = np.zeros(num_replicas)
    for k in np.argsort(-q, kind="stable"):
        room = np.array([len(block) for block in blocks]) < counts
        r = int(np.where(room, masses, np.inf).argmin())
        blocks[r].append(int(k))
        masses[r] += q[k]
    return np.concatenate([np.array(block, np.int64) for block in blocks])
