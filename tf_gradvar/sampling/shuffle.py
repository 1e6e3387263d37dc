"""The order of a cluster's examples: a random permutation for every pass, with random access."""

from __future__ import annotations

import tensorflow as tf

from tf_gradvar.sampling.cluster_draws import KEY_MIX


def shuffled_places(
    position: tf.Tensor, sizes: tf.Tensor, clusters: tf.Tensor, seed: int
) -> tf.Tensor:
    """Return the place of each draw among the members of its cluster, int64 [B].

    Args:
        position: How many examples of the cluster were drawn before, int64 [B].
        sizes: N_k of the cluster of each draw, int64 [B].
        clusters: The cluster of each draw, an integer [B].
        seed: The seed of the permutations. Pass number `position // sizes` has its own.
    """
    seeds = tf.fill(tf.shape(position), tf.constant(seed, tf.int64))
    key = (seeds, tf.cast(clusters, tf.int64), position // sizes)
    mixed = [
        tf.bitwise.bitwise_xor(part, tf.constant(bits, tf.int64))
        for part, bits in zip(key, KEY_MIX, strict=True)
    ]
    return tf.raw_ops.RandomIndexShuffle(
        index=position % sizes, seed=tf.stack(mixed, axis=1), max_index=sizes - 1
    )
