"""Batches of single-cluster groups from arrays, drawn by NumPy.

They are those of `cluster_stream`: batch number t depends on the seed, on t and on the clusters in
effect alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from tf_gradvar.assignments import rows_by_cluster
from tf_gradvar.data.cluster_sampling import ClusterSampling, as_cluster_batch
from tf_gradvar.sampling.cluster_draws import choices, count_choices, order_of_pass


class ArrayClusterBatches(keras.utils.PyDataset):
    """An endless dataset of `({"inputs": x, "cluster_ids": ids}, y)` (and weights where given).

    `batches[t]` is batch number t; the next one after the last that was made costs least, another
    replays the choices before it. An iterator starts at batch 0.

    Args:
        data: (x, y) or (x, y, sample_weight), arrays with the examples along axis 0.
        ids: The cluster of each example, int [N]; -1 for those that are not drawn.
        sampling: Of these batches.

    Attributes:
        sampling: A `ClusterSampling`.
    """

    num_batches = None  # endless

    def __init__(self, data: tuple[Any, ...], ids: np.ndarray, sampling: ClusterSampling) -> None:
        super().__init__()
        self._data = keras.tree.lists_to_tuples(data)
        self.sampling = sampling
        self.follow(ids, sampling.cluster_probabilities)

    def with_sampling(self, sampling: ClusterSampling) -> ArrayClusterBatches:
        """Return this dataset if it has the sampling, else one of the same examples.

        Args:
            sampling: Of the batches, which may begin elsewhere.
        """
        if sampling == self.sampling:
            return self
        return ArrayClusterBatches(self._data, self._ids, sampling)

    def follow(self, ids: np.ndarray, probabilities: Sequence[float]) -> None:
        """Draw from other clusters from the next batch on.

        Args:
            ids: As in the constructor, of as many examples and clusters.
            probabilities: The probability of each cluster, K floats.
        """
        self._ids, self._probabilities = ids, tuple(probabilities)
        self._rows, self._sizes = rows_by_cluster(ids, len(self._probabilities))
        self._first = np.cumsum(self._sizes) - self._sizes
        self._next = -1  # nothing is known of any batch
        self._positions: np.ndarray = np.zeros(len(self._sizes), np.int64)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch number `index`, counted from where the dataset starts."""
        settings = self.sampling
        groups, size = settings.groups_per_batch, settings.group_size
        number = settings.batches_taken + index
        stream = self._probabilities, settings.seed, settings.order
        turns = settings.blocks, settings.run_length
        if number != self._next:
            self._positions = count_choices(*stream, number * groups, *turns) * size
        clusters = choices(*stream, number * groups, (number + 1) * groups, *turns)
        rows = np.concatenate([self._rows_of_group(int(k)) for k in clusters])
        self._next = number + 1
        example = keras.tree.map_structure(lambda leaf: leaf[rows], self._data)
        return as_cluster_batch(example, np.repeat(clusters, size).astype(np.int32))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        index = 0
        while True:
            yield self[index]
            index += 1

    def take(self, count: int) -> Iterator[tuple[Any, ...]]:
        """Return an iterator over the first batches.

        Args:
            count: How many.
        """
        return (self[index] for index in range(count))

    def _rows_of_group(self, cluster: int) -> np.ndarray:
        """Return the examples of the next group of a cluster, int64 [b]."""
        start, length = self._positions[cluster], int(self._sizes[cluster])
        positions = start + np.arange(self.sampling.group_size)
        self._positions[cluster] += self.sampling.group_size
        places = [self._place(cluster, *divmod(int(p), length), length) for p in positions]
        return self._rows[self._first[cluster] + np.array(places)]

    def _place(self, cluster: int, number: int, index: int, length: int) -> int:
        """Return the place of an example in its cluster: of `index` in pass `number`."""
        held = self._orders.get(cluster)
        if held is None or held[0] != number:
            held = (number, order_of_pass(self.sampling.seed, cluster, number, length))
            self._orders[cluster] = held
        return int(held[1][index])
