"""Batches of single-cluster groups from a tf.data dataset, each cluster through a filter."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.data.cluster_sampling import ClusterSampling, as_cluster_batch
from tf_gradvar.data.worker_share import WorkerShare
from tf_gradvar.sampling.cluster_choice import choice_edges, choice_numbers, choose


def divide(
    examples: tf.data.Dataset, ids: np.ndarray, share: WorkerShare
) -> tuple[tf.data.Dataset, np.ndarray]:
    """Return the examples of one worker and their clusters: every one is some worker's.

    Args:
        examples: A dataset of (example, cluster).
        ids: The cluster of each example.
        share: Of the worker.
    """
    part = examples.shard(share.num_workers, share.worker)
    return part, ids[share.worker :: share.num_workers]


def batches_by_cluster(
    examples: tf.data.Dataset,
    sizes: np.ndarray,
    sampling: ClusterSampling,
    share: WorkerShare | None,
) -> tf.data.Dataset:
    """Read each cluster through a filter of its own and interleave their groups.

    Args:
        examples: A dataset of (example, cluster).
        sizes: The examples of each cluster in it, [K].
        sampling: How batches are drawn.
        share: Of the worker that takes the batches, for each of its replicas in turn; None for
            whole batches.
    """
    size = sampling.group_size
    count = sampling.groups_per_batch if share is None else share.groups
    ownership = None if sampling.blocks is None else sampling.blocks.ownership
    drawn = range(sampling.num_clusters)
    if share is not None:
        drawn = share.clusters(ownership, sampling.num_clusters)
    groups = tf.data.Dataset.choose_from_datasets(
        [_groups_of(k, examples, int(sizes[k]), sampling) for k in drawn],
        _choices(sampling, share).map(lambda k: tf.cast(k, tf.int64) - drawn.start),
    )
    named = tf.data.Dataset.zip((groups, _choices(sampling, share)))

    def join(example: Any, clusters: tf.Tensor) -> tuple[Any, ...]:
        def merged(leaf: tf.Tensor) -> tf.Tensor:
            whole = tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], 0))
            whole.set_shape([count * size, *leaf.shape[2:]])
            return whole

        return as_cluster_batch(
            keras.tree.map_structure(merged, example), tf.repeat(clusters, size)
        )

    batches = named.batch(count, drop_remainder=True)
    taken = sampling.batches_taken * (1 if share is None else len(share.replicas))
    return batches.map(join, num_parallel_calls=tf.data.AUTOTUNE).skip(taken)


def _groups_of(
    k: int, examples: tf.data.Dataset, count: int, sampling: ClusterSampling
) -> tf.data.Dataset:
    """Return the endless dataset of groups of one cluster, of which there are `count` examples."""
    number = tf.constant(k, tf.int64)
    mine = examples.filter(lambda example, cluster: tf.equal(cluster, number))
    mine = mine.map(lambda example, cluster: example)
    buffer = min(sampling.shuffle_buffer or 1, count)

    def shuffled_pass(number: tf.Tensor) -> tf.data.Dataset:
        # Within this function's graph only: the global seed must not change the batches.
        tf.random.set_seed(1 + (sampling.seed * sampling.num_clusters + k) % (2**31 - 2))
        return mine.shuffle(buffer, seed=number, reshuffle_each_iteration=False)

    passes = tf.data.Dataset.counter().flat_map(shuffled_pass)
    return passes.batch(sampling.group_size, drop_remainder=True)


def _choices(sampling: ClusterSampling, share: WorkerShare | None) -> tf.data.Dataset:
    """Return the clusters of the groups, of all of them or of a worker's."""
    edges, blocks = choice_edges(sampling.cluster_probabilities), sampling.blocks
    stream = sampling.num_clusters, sampling.seed, sampling.order
    numbers = choice_numbers(*stream, 0, sampling.run_length).enumerate()
    if share is not None:
        first, stop = share.places.start, share.places.stop

        def is_own(place: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            place = place % sampling.groups_per_batch
            return (place >= first) & (place < stop)

        numbers = numbers.filter(is_own)
    return numbers.map(lambda place, number: choose(number[tf.newaxis], edges, blocks, place)[0])
