"""Batches of single-cluster groups from arrays, by index.

Batch number t depends on the seed, on t and on the clusters in effect alone: position p of cluster
k is place p mod N_k of a random permutation of its members, the one with the number
floor(p / N_k), and p counts the draws from k in all the batches before. So nothing but t and the
clusters is needed to go on from any batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.assignments import rows_by_cluster
from tf_gradvar.data.cluster_sampling import ClusterSampling, as_cluster_batch
from tf_gradvar.data.worker_share import WorkerShare
from tf_gradvar.sampling.cluster_choice import choice_edges, choice_numbers, choose, count_choices
from tf_gradvar.sampling.shuffle import shuffled_places


@dataclasses.dataclass(frozen=True)
class ClusterTables:
    """What a pipeline looks up: tensors, or variables that can change between two batches.

    Attributes:
        rows: The examples in the order of their clusters, int64 [N].
        first: Where each cluster begins in them, int64 [K].
        sizes: The examples of each cluster, int64 [K].
        edges: What `choice_edges` made of the probabilities, float64 [K].
        version: How often the tables changed, int64.
    """

    rows: tf.Tensor | tf.Variable
    first: tf.Tensor | tf.Variable
    sizes: tf.Tensor | tf.Variable
    edges: tf.Tensor | tf.Variable
    version: tf.Tensor | tf.Variable

    @classmethod
    def of(
        cls, assignments: np.ndarray, probabilities: Sequence[float], *, can_change: bool
    ) -> ClusterTables:
        """Return the tables of the clusters of N examples.

        Args:
            assignments: The cluster of each example, int [N]; -1 for those that are left out.
            probabilities: The probability of each cluster, K floats.
            can_change: Whether `follow` can be called.
        """
        values = (*_table_values(assignments, probabilities), tf.zeros([], tf.int64))
        if not can_change:
            return cls(*values)
        with tf.device("CPU:0"):  # datasets run there; int64 variables would go to a GPU
            return cls(*(tf.Variable(value, trainable=False) for value in values))

    def follow(self, assignments: np.ndarray, probabilities: Sequence[float]) -> None:
        """Take other clusters, as in `of`, of as many examples and clusters."""
        for variable, value in zip(
            (self.rows, self.first, self.sizes, self.edges),
            _table_values(assignments, probabilities),
            strict=True,
        ):
            variable.assign(value)
        self.version.assign_add(1)


def _table_values(assignments: np.ndarray, probabilities: Sequence[float]) -> tuple[tf.Tensor, ...]:
    num_clusters = len(probabilities)
    rows, sizes = rows_by_cluster(assignments, num_clusters)
    # What is left out comes last, where no cluster reaches: the length stays.
    rows = tf.constant(np.pad(rows, (0, len(assignments) - len(rows))), tf.int64)
    sizes = tf.constant(sizes, tf.int64)
    return rows, tf.cumsum(sizes, exclusive=True), sizes, choice_edges(probabilities)


def batches_by_index(
    data: tuple[Any, ...],
    tables: ClusterTables,
    sampling: ClusterSampling,
    *,
    read_ahead: bool,
    share: WorkerShare | None = None,
) -> tf.data.Dataset:
    """Return the endless dataset of examples and cluster ids.

    Args:
        data: (x, y) or (x, y, sample_weight), tensors with the examples along axis 0.
        tables: The clusters.
        sampling: A `ClusterSampling`.
        read_ahead: Whether batches are made before they are asked for.
        share: Of the worker that takes the batches, for each of its replicas in turn; None for
            whole batches.

    Returns:
        A dataset of ({"inputs": x, "cluster_ids": ids}, y) and weights where given.
    """
    groups, size = sampling.groups_per_batch, sampling.group_size
    seed, order, blocks = sampling.seed, sampling.order, sampling.blocks
    groups_taken = groups if share is None else share.groups

    def positions_before(number: tf.Tensor) -> tf.Tensor:
        taken = number * groups
        return count_choices(tables.edges, seed, order, taken, blocks, sampling.run_length) * size

    def advance(positions: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, Any]:
        clusters = choose(numbers, tables.edges, blocks)
        members = tf.one_hot(clusters, sampling.num_clusters, dtype=tf.int64)
        before = tf.cumsum(members, axis=0, exclusive=True) * size
        starts = tf.gather(positions, clusters) + tf.gather(before, clusters, batch_dims=1)
        return positions + tf.reduce_sum(members, axis=0) * size, (clusters, starts)

    def advance_or_replay(state: Any, batch: Any) -> tuple[Any, Any]:
        seen, positions = state
        number, numbers = batch
        version = tf.identity(tables.version)
        same = tf.equal(version, seen)
        positions = tf.cond(same, lambda: positions, lambda: positions_before(number))
        positions, draws = advance(positions, numbers)
        return (version, positions), draws

    def pick(clusters: tf.Tensor, starts: tf.Tensor) -> tuple[Any, ...]:
        clusters = tf.repeat(clusters, size)
        count = groups_taken * size
        position = tf.reshape(starts[:, None] + tf.range(size, dtype=tf.int64), [count])
        place = shuffled_places(position, tf.gather(tables.sizes, clusters), clusters, seed)
        rows = tf.gather(tables.rows, tf.gather(tables.first, clusters) + place)
        example = keras.tree.map_structure(lambda leaf: tf.gather(leaf, rows), data)
        return as_cluster_batch(example, tf.ensure_shape(clusters, [count]))

    start = sampling.batches_taken
    first = start * groups
    numbers = choice_numbers(sampling.num_clusters, seed, order, first, sampling.run_length)
    numbers = numbers.batch(groups, drop_remainder=True)
    if read_ahead:
        draws = numbers.scan(positions_before(tf.constant(start, tf.int64)), advance)
        draws = draws if share is None else take_share(draws, share)
        return draws.map(pick, num_parallel_calls=tf.data.AUTOTUNE)
    stream = tf.data.Dataset.zip((tf.data.Dataset.counter(start), numbers))
    nothing_seen = (tf.constant(-1, tf.int64), tf.zeros([sampling.num_clusters], tf.int64))
    options = tf.data.Options()
    # Batches that were drawn ahead would have outdated clusters.
    options.experimental_optimization.inject_prefetch = False
    draws = stream.scan(nothing_seen, advance_or_replay)
    draws = draws if share is None else take_share(draws, share)
    return draws.map(pick).with_options(options)


def take_share(groups: tf.data.Dataset, share: WorkerShare) -> tf.data.Dataset:
    """Return what each replica of a worker takes of batches of groups, one replica after another.

    Args:
        groups: A dataset of tensors [C, ...].
        share: Of the worker.
    """

    def of_replicas(*batch: Any) -> Any:
        own = slice(share.places.start, share.places.stop)
        parts = keras.tree.map_structure(
            lambda leaf: tf.reshape(leaf[own], (-1, share.groups, *leaf.shape[1:])), batch
        )
        return parts[0] if len(parts) == 1 else parts

    return groups.map(of_replicas).unbatch()
