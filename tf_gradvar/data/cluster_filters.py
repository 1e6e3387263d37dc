"""Batches of single-cluster groups from a dataset, which is read once for every cluster."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.data.cluster_sampling import ClusterSampling, as_cluster_batch
from tf_gradvar.sampling.cluster_choice import choice_edges, choice_numbers, choose


def _choices(sampling: ClusterSampling) -> tf.data.Dataset:
    edges = choice_edges(sampling.cluster_probabilities)
    numbers = choice_numbers(sampling.num_clusters, sampling.seed, sampling.order, 0)
    return numbers.map(lambda number: choose(number[tf.newaxis], edges)[0])


def batches_by_filter(examples: tf.data.Dataset, sampling: ClusterSampling) -> tf.data.Dataset:
    """Read each cluster through a filter of its own and interleave their groups."""
    size = sampling.group_size

    def cluster_groups(k: int) -> tf.data.Dataset:
        number = tf.constant(k, tf.int64)
        mine = examples.filter(lambda example, cluster: tf.equal(cluster, number))
        mine = mine.map(lambda example, cluster: example)
        buffer = min(sampling.shuffle_buffer or 1, sampling.cluster_sizes[k])

        def shuffled_pass(number: tf.Tensor) -> tf.data.Dataset:
            # Within this function's graph only: the global seed must not change the batches.
            tf.random.set_seed(1 + (sampling.seed * sampling.num_clusters + k) % (2**31 - 2))
            return mine.shuffle(buffer, seed=number, reshuffle_each_iteration=False)

        passes = tf.data.Dataset.counter().flat_map(shuffled_pass)
        return passes.batch(size, drop_remainder=True)

    groups = tf.data.Dataset.choose_from_datasets(
        [cluster_groups(k) for k in range(sampling.num_clusters)],
        _choices(sampling).map(lambda cluster: tf.cast(cluster, tf.int64)),
    )
    named = tf.data.Dataset.zip((groups, _choices(sampling)))

    def join(example: Any, clusters: tf.Tensor) -> tuple[Any, ...]:
        def merged(leaf: tf.Tensor) -> tf.Tensor:
            whole = tf.reshape(leaf, tf.concat([[-1], tf.shape(leaf)[2:]], 0))
            whole.set_shape([sampling.groups_per_batch * size, *leaf.shape[2:]])
            return whole

        return as_cluster_batch(
            keras.tree.map_structure(merged, example), tf.repeat(clusters, size)
        )

    batches = named.batch(sampling.groups_per_batch, drop_remainder=True)
    return batches.map(join, num_parallel_calls=tf.data.AUTOTUNE).skip(sampling.batches_taken)
