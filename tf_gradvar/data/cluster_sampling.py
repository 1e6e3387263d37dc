"""The account that a dataset of cluster batches gives of itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from tf_gradvar.arguments import check_batches_taken
from tf_gradvar.data.resuming import check_state
from tf_gradvar.ownership import Ownership
from tf_gradvar.sampling.cluster_draws import Blocks


@dataclasses.dataclass(frozen=True)
class ClusterSampling:
    """How a dataset of cluster batches draws; its attribute `sampling`.

    Attributes:
        num_clusters: The number of clusters K.
        group_size: Examples in a group, b.
        groups_per_batch: Groups in a batch, C.
        cluster_probabilities: The probability of each cluster, K floats.
        cluster_sizes: Examples of each cluster in the data, K ints.
        cluster_ids: A hash of the clusters of all examples, 16 hexadecimal digits.
        seed: The seed of every draw.
        order: `"random"` or `"cycle"`.
        shuffle_buffer: Examples that are shuffled at a time, or None for arrays.
        data: A hash of x and y, or None for a dataset whose clusters a function tells.
        batches_taken: Batches that were left out at the start because they were taken
            before.
        owned_by: The replicas each of which draws from its own clusters, or None.
        shards: The parts of a tf.data dataset of which each worker reads one, or None.
        run_length: How many groups in a row are of a cluster that was drawn.
    """

    num_clusters: int
    group_size: int
    groups_per_batch: int
    cluster_probabilities: tuple[float, ...]
    cluster_sizes: tuple[int, ...]
    cluster_ids: str
    seed: int
    order: str
    shuffle_buffer: int | None = None
    data: str | None = None
    batches_taken: int = 0
    owned_by: int | None = None
    shards: int | None = None
    run_length: int = 1

    @property
    def blocks(self) -> Blocks | None:
        """The clusters that replicas own, and their groups in a batch; or None."""
        if self.owned_by is None:
            return None
        ownership = Ownership(self.num_clusters, self.owned_by)
        return Blocks(ownership, self.groups_per_batch // self.owned_by)

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides what batch number n holds."""
        settings = {**dataclasses.asdict(self), "batches_taken": 0}
        # States from before there were such are still good.
        for name, absent in (("owned_by", None), ("shards", None), ("run_length", 1)):
            if settings[name] == absent:
                del settings[name]
        content = json.dumps(settings, sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:16]

    def state(self, batches_taken: int) -> dict[str, Any]:
        """Return the state after so many batches of this dataset, JSON-plain.

        Args:
            batches_taken: The batches taken from this dataset (not counting those that it
                left out when it was itself resumed). Batches that were only prefetched do
                not count.

        Raises:
            ValueError: If `batches_taken` is not an integer of at least 0.
        """
        total = self.batches_taken + check_batches_taken(batches_taken)
        return {"batches_taken": total, "fingerprint": self.fingerprint()}

    def resumed(self, state: Any) -> ClusterSampling:
        """Return the same, with the batches left out that were taken up to a state.

        Args:
            state: What `state` returned; None for the start.

        Raises:
            ValueError: A state of other data, clusters or settings.
        """
        taken = check_state(state, self.fingerprint(), "cluster batches")
        return dataclasses.replace(self, batches_taken=taken)

    def after(self, batches_taken: int) -> ClusterSampling:
        """Return the same, with so many more batches left out.

        Args:
            batches_taken: How many more, at least 0.

        Raises:
            ValueError: If `batches_taken` is not an integer of at least 0.
        """
        total = self.batches_taken + check_batches_taken(batches_taken)
        return dataclasses.replace(self, batches_taken=total)


def as_cluster_batch(example: tuple[Any, ...], ids: Any) -> tuple[Any, ...]:
    """Return (x, y) or (x, y, sample_weight) with the ids beside the inputs."""
    inputs, *rest = example
    return ({"inputs": inputs, "cluster_ids": ids}, *rest)
