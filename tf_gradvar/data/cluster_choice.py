"""Which cluster the next group comes from: a seeded stream with random access."""

import tensorflow as tf

# Draws are made in blocks, so that the stream can be replayed to any place by arithmetic
# on whole blocks instead of one operation for each draw.
_BLOCK = 1024
ORDERS = ("random", "cycle")


def _block(index, probabilities, seed, order):
    """Return one block of cluster ids: independent draws, or one permutation of all."""
    stream = tf.stack([tf.cast(seed, tf.int64), index])
    if order == "cycle":
        ids = tf.range(len(probabilities), dtype=tf.int32)
        return tf.random.experimental.stateless_shuffle(ids, stream)
    edges = tf.cumsum(tf.constant(probabilities, tf.float64))
    draws = tf.random.stateless_uniform([_BLOCK], stream, dtype=tf.float64) * edges[-1]
    return tf.searchsorted(edges, draws, side="right", out_type=tf.int32)


def block_size(num_clusters: int, order: str) -> int:
    """Return how many draws a block of the stream holds."""
    return num_clusters if order == "cycle" else _BLOCK


def cluster_choices(probabilities, seed: int, order: str, start: int) -> tf.data.Dataset:
    """Return the endless stream of cluster ids from draw number `start` on.

    Args:
        probabilities: The probability of each cluster, K floats.
        seed: The seed of the stream.
        order: `"random"` (independent draws) or `"cycle"` (permutations of all clusters).
        start: The number of draws to leave out, which costs at most one block.

    Returns:
        A dataset of int32 scalars.
    """
    size = block_size(len(probabilities), order)
    blocks = tf.data.Dataset.counter(start // size).map(
        lambda index: _block(index, probabilities, seed, order)
    )
    return blocks.unbatch().skip(start % size)


def count_choices(probabilities, seed: int, order: str, stop: int):
    """Return how often each cluster occurs in the first `stop` draws, int64 [K].

    Args:
        probabilities: As in `cluster_choices`.
        seed: As in `cluster_choices`.
        order: As in `cluster_choices`.
        stop: The number of draws that are counted.
    """
    num_clusters = len(probabilities)
    size = block_size(num_clusters, order)
    blocks = tf.data.Dataset.range(-(-stop // size)).map(
        lambda index: tf.math.bincount(
            _block(index, probabilities, seed, order)[: stop - index * size],
            minlength=num_clusters,
            dtype=tf.int64,
        )
    )
    zero = tf.zeros([num_clusters], tf.int64)
    return blocks.reduce(zero, lambda total, counts: total + counts).numpy()
