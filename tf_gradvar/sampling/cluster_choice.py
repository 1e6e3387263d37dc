"""The cluster of the next group: a seeded stream with random access.

The stream is one of numbers in [0, 1) that know nothing of the clusters; `choose` turns them into
clusters. So the probabilities may change while the stream goes on.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_gradvar.sampling.cluster_draws import BLOCK, Blocks, block_size


def _block(index: tf.Tensor, num_clusters: int, seed: int, order: str) -> tf.Tensor:
    """Return one block of numbers: independent ones, or one permutation of all clusters."""
    stream = tf.stack([tf.cast(seed, tf.int64), index])
    if order == "cycle":
        ids = tf.range(num_clusters, dtype=tf.int32)
        ids = tf.random.experimental.stateless_shuffle(ids, stream)
        return (tf.cast(ids, tf.float64) + 0.5) / num_clusters
    return tf.random.stateless_uniform([BLOCK], stream, dtype=tf.float64)


def choice_edges(probabilities: Any) -> tf.Tensor:
    """Return the upper ends, float64 [K], of the intervals in [0, 1) that stand for clusters.

    Args:
        probabilities: The probability of each cluster, K floats; uniform for `order="cycle"`.
    """
    return tf.cumsum(tf.constant(probabilities, tf.float64))


def choose(numbers: Any, edges: Any, blocks: Blocks | None = None, first: Any = 0) -> tf.Tensor:
    """Return the cluster of each number of the stream, int32.

    Args:
        numbers: Numbers in [0, 1), float64.
        edges: What `choice_edges` returned.
        blocks: Where replicas own clusters; a number then falls into the interval of its block.
        first: The place of the first number in the stream, with blocks.
    """
    if blocks is not None:
        return _choose_own(numbers, edges, blocks, first)
    return tf.searchsorted(edges, numbers * edges[-1], side="right", out_type=tf.int32)


def _choose_own(numbers: Any, edges: Any, blocks: Blocks, first: Any) -> tf.Tensor:
    starts, counts = blocks.ownership.starts, blocks.ownership.counts
    places = tf.cast(first, tf.int64) + tf.range(tf.size(numbers, tf.int64))
    replicas = places // blocks.groups % blocks.ownership.num_replicas
    begin, last = (tf.gather(tf.constant(a), replicas) for a in (starts, starts + counts - 1))
    lower = tf.gather(tf.concat([tf.zeros([1], tf.float64), edges], 0), begin)
    upper = tf.gather(edges, last)
    found = tf.searchsorted(edges, lower + numbers * (upper - lower), side="right")
    # Rounding must not lead out of the block.
    return tf.clip_by_value(found, tf.cast(begin, tf.int32), tf.cast(last, tf.int32))


def choice_numbers(
    num_clusters: int, seed: int, order: str, start: int, run_length: int = 1
) -> tf.data.Dataset:
    """Return the endless stream of numbers from draw number `start` on.

    Args:
        num_clusters: The number of clusters K.
        seed: The seed of the stream.
        order: `"random"` (independent draws) or `"cycle"` (permutations of all clusters).
        start: The number of draws to leave out, which costs at most one block.
        run_length: How often in a row each number is drawn.

    Returns:
        A dataset of float64 scalars for `choose`.
    """
    if run_length > 1:
        numbers = choice_numbers(num_clusters, seed, order, start // run_length)
        runs = numbers.flat_map(
            lambda number: tf.data.Dataset.from_tensors(number).repeat(run_length)
        )
        return runs.skip(start % run_length)
    size = block_size(num_clusters, order)
    blocks = tf.data.Dataset.counter(start // size).map(
        lambda index: _block(index, num_clusters, seed, order)
    )
    return blocks.unbatch().skip(start % size)


def count_choices(
    edges: Any,
    seed: int,
    order: str,
    stop: Any,
    blocks: Blocks | None = None,
    run_length: int = 1,
) -> tf.Tensor:
    """Return how often each cluster occurs in the first `stop` draws, int64 [K].

    Args:
        edges: What `choice_edges` returned, of a static shape.
        seed: As in `choice_numbers`.
        order: As in `choice_numbers`.
        stop: The number of draws that are counted.
        blocks: As in `choose`.
        run_length: As in `choice_numbers`.

    Cost: for `"random"` in proportion to `stop`, in blocks of 1 024 draws; for `"cycle"` that of
    one cycle, because in every whole one each cluster occurs once.
    """
    num_clusters = edges.shape[0]
    size = block_size(num_clusters, order)
    stop = tf.cast(stop, tf.int64)
    if run_length > 1:
        whole = stop // run_length
        number = _block(whole // size, num_clusters, seed, order)[whole % size]
        last = tf.one_hot(choose(number[tf.newaxis], edges)[0], num_clusters, dtype=tf.int64)
        return run_length * count_choices(edges, seed, order, whole) + stop % run_length * last
    first = stop // size if order == "cycle" else tf.zeros([], tf.int64)

    def count_block(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = choose(_block(index, num_clusters, seed, order), edges, blocks, index * size)
        kept = drawn[: tf.minimum(stop - index * size, size)]
        counts = tf.math.bincount(kept, minlength=num_clusters, dtype=tf.int64)
        return index + 1, total + tf.ensure_shape(counts, [num_clusters])

    _, counts = tf.while_loop(
        lambda index, total: index * size < stop,
        count_block,
        (first, tf.fill([num_clusters], first)),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([num_clusters])),
    )
    return counts
