"""Systematic sampling in the graph: the rule of `systematic` in ticks, from a seeded stream.

Everything is counted in ticks, whole numbers, so that E[n_k] = e_k and the total B hold exactly.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_gradvar.sampling.allocation import TICKS

# Orders and offsets are made in blocks, so that the stream can be replayed quickly.
_BLOCK = 64


def _block(index: tf.Tensor, num_clusters: int, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the orders [T, K] and the offsets in ticks [T] of T batches."""
    stream = tf.stack([tf.cast(seed, tf.int64), index])
    bits = tf.random.stateless_uniform(
        [_BLOCK, num_clusters + 1], stream, minval=None, maxval=None, dtype=tf.int64
    )
    return tf.argsort(bits[:, 1:], axis=1), bits[:, 0] % TICKS


def systematic_draws(ticks: Any, orders: Any, offsets: Any) -> tf.Tensor:
    """Return how many draws fall to the clusters, in their order on the line.

    Args:
        ticks: e_k in ticks, int64 [K].
        orders: The clusters in the order of each batch, int32 [T, K].
        offsets: u in ticks, int64 [T].

    Returns:
        int64 [T, K]; column j is of the cluster `orders[:, j]`.
    """
    ends = tf.cumsum(tf.gather(ticks, orders), axis=1) + offsets[:, None]
    reached = ends // TICKS
    return tf.concat([reached[:, :1], reached[:, 1:] - reached[:, :-1]], axis=1)


def order_stream(num_clusters: int, seed: int, start: int) -> tf.data.Dataset:
    """Return the endless stream of (order int32 [K], offset int64) from batch `start` on.

    Args:
        num_clusters: K.
        seed: The seed of the stream.
        start: The number of batches to leave out, which costs at most one block.
    """
    blocks = tf.data.Dataset.counter(start // _BLOCK).map(
        lambda index: _block(index, num_clusters, seed)
    )
    return blocks.unbatch().skip(start % _BLOCK)


def draws_before(ticks: tf.Tensor, seed: int, stop: tf.Tensor) -> tf.Tensor:
    """Return how many examples of each cluster the first `stop` batches draw, int64 [K].

    Args:
        ticks: As in `systematic_draws`.
        seed: As in `order_stream`.
        stop: The number of batches, an int64 scalar.

    Cost: none where the draws are fixed; else that of replaying the counts, in blocks.
    """
    num_clusters = ticks.shape[0]

    def add_block(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        orders, offsets = _block(index, num_clusters, seed)
        draws = systematic_draws(ticks, orders, offsets)
        taken = tf.range(_BLOCK, dtype=tf.int64) < stop - index * _BLOCK
        draws = tf.where(taken[:, None], draws, 0)
        counts = tf.math.unsorted_segment_sum(draws, orders, num_clusters)
        return index + 1, total + counts

    def replay() -> tf.Tensor:
        zero = (tf.constant(0, tf.int64), tf.zeros([num_clusters], tf.int64))
        return tf.while_loop(lambda index, total: index * _BLOCK < stop, add_block, zero)[1]

    fixed = tf.reduce_all(ticks % TICKS == 0)
    return tf.cond(fixed, lambda: stop * (ticks // TICKS), replay)
