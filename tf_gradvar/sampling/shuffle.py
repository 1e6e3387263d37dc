"""The order of a cluster's examples: a random permutation for every pass, with random access."""

from __future__ import annotations

import functools

import tensorflow as tf

from tf_gradvar.sampling.cluster_draws import FAULTY_SIZES, KEY_MIX


def shuffled_places(
    position: tf.Tensor, sizes: tf.Tensor, clusters: tf.Tensor, seed: int
) -> tf.Tensor:
    """Return the place of each draw among the members of its cluster, int64 [B].

    Args:
        position: How many examples of the cluster were drawn before, int64 [B].
        sizes: N_k of the cluster of each draw, int64 [B].
        clusters: The cluster of each draw, an integer [B].
        seed: The seed of the permutations. Pass number `position // sizes` has its own.

    Where TensorFlow's operation is no permutation (`FAULTY_SIZES`), that of N_k + 1 indices is
    taken, without N_k: the index that leads there gets the place to which N_k leads.
    """
    seeds = tf.fill(tf.shape(position), tf.constant(seed, tf.int64))
    key = (seeds, tf.cast(clusters, tf.int64), position // sizes)
    mixed = [
        tf.bitwise.bitwise_xor(part, tf.constant(bits, tf.int64))
        for part, bits in zip(key, KEY_MIX, strict=True)
    ]
    faulty = tf.reduce_any(sizes[:, None] == tf.constant(FAULTY_SIZES, tf.int64), axis=1)
    permutation = functools.partial(
        tf.raw_ops.RandomIndexShuffle,
        seed=tf.stack(mixed, axis=1),
        max_index=sizes - 1 + tf.cast(faulty, tf.int64),
    )
    places = permutation(index=position % sizes)
    return tf.cond(
        tf.reduce_all(places < sizes),
        lambda: places,
        lambda: tf.where(places < sizes, places, permutation(index=places)),
    )
