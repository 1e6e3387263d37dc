"""The pipeline of stratified batches, which reads its clusters from variables.

Batch number t depends on the seed, on t and on the clusters in effect alone: cluster k has drawn
p_k = n_k(0) + ... + n_k(t - 1) examples before it, and its draw number p is the place p mod N_k of
a random permutation of its members, the one with the number floor(p / N_k). So nothing but t and
the clusters is needed to go on from any batch.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.data.loss_shapes import weights_of_batch
from tf_gradvar.sampling import Design
from tf_gradvar.sampling.shuffle import shuffled_places
from tf_gradvar.sampling.systematic_stream import draws_before, order_stream, systematic_draws

_NEVER = tf.int64.max


class DesignVariables:
    """Two designs that a dataset reads at every batch: from batch `switch_at` on the second.

    Args:
        design: The first design; both are this one until `follow` is called.
        capacity: The most examples that a design can have.
        drawn: The number of the next batch.
    """

    def __init__(self, design: Design, capacity: int, drawn: int):
        num_clusters = len(design.sizes)
        # Datasets run on the CPU; int64 variables would otherwise be placed on a GPU.
        with tf.device("CPU:0"):
            self._rows = _variable([2 * capacity])
            self._sizes = _variable([2, num_clusters])
            self._ticks = _variable([2, num_clusters])
            self._weights = _variable([2, num_clusters], tf.float64)
            self._version = _variable([2])
            self._switch_at = _variable([])
            self._drawn = _variable([])
        self._capacity = capacity
        self._drawn.assign(drawn)
        self._write(1, design)
        self._copy_second_to_first()

    @property
    def drawn(self) -> int:
        """The number of the batch that comes next, in the iteration that drew last."""
        return int(self._drawn.numpy())

    @property
    def switch_at(self) -> int:
        """The number of the first batch of the second design."""
        return int(self._switch_at.numpy())

    def follow(self, design: Design, switch_at: int) -> None:
        """Make this the second design; what is in effect now stays the first."""
        if self.drawn >= self.switch_at:
            self._copy_second_to_first()
        # Where a thread of the user's draws ahead meanwhile, it finds the first design whole.
        self._switch_at.assign(_NEVER)
        self._write(1, design)
        self._version.scatter_nd_add([[1]], [1])
        self._switch_at.assign(switch_at)

    def at(self, number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return (version, ticks, sizes, weights, first row) of batch `number`, as tensors."""
        slot = tf.cast(number >= self._switch_at, tf.int64)
        version, ticks, sizes, weights = (
            tf.gather(variable, slot)
            for variable in (self._version, self._ticks, self._sizes, self._weights)
        )
        return version, ticks, sizes, weights, slot * self._capacity + tf.cumsum(sizes) - sizes

    def rows(self, places: tf.Tensor) -> tf.Tensor:
        """Return the examples at these places, int64 [B]."""
        return tf.gather(self._rows, places)

    def count(self, number: tf.Tensor) -> None:
        """Note that batch `number` is drawn."""
        self._drawn.assign(number + 1)

    def _write(self, slot: int, design: Design) -> None:
        start = slot * self._capacity
        self._rows[start : start + len(design.rows)].assign(design.rows)
        self._sizes[slot].assign(design.sizes)
        self._ticks[slot].assign(design.ticks)
        self._weights[slot].assign(design.weights)

    def _copy_second_to_first(self) -> None:
        for variable in (self._sizes, self._ticks, self._weights, self._version):
            variable[0].assign(variable[1])
        self._rows[: self._capacity].assign(self._rows[self._capacity :])


def _variable(shape: list[int], dtype: tf.DType = tf.int64) -> tf.Variable:
    return tf.Variable(tf.zeros(shape, dtype), trainable=False)


def stratified_dataset(
    data: tuple[Any, ...],
    designs: DesignVariables,
    shapes: Any,
    *,
    num_clusters: int,
    batch_size: int,
    seed: int,
    start: int,
) -> tf.data.Dataset:
    """Return the endless dataset of (x, y, sample_weight) from batch `start` on.

    Args:
        data: (x, y) or (x, y, sample_weight), tensors with the examples along axis 0.
        designs: What each batch draws.
        shapes: Of the weights of one example, as `weight_shapes` returned them.
        num_clusters: K.
        batch_size: B.
        seed: The seed of every draw.
        start: The number of batches to leave out.
    """

    def draw(state: Any, batch: Any) -> tuple[Any, Any]:
        seen, positions = state
        number, (order, offset) = batch
        version, ticks, sizes, weights, first = designs.at(number)
        positions = tf.cond(
            version == seen, lambda: positions, lambda: draws_before(ticks, seed, number)
        )
        draws = systematic_draws(ticks, order[None], offset[None])[0]
        clusters = tf.ensure_shape(tf.repeat(order, draws), [batch_size])
        earlier = tf.repeat(tf.cumsum(draws) - draws, draws)
        position = tf.gather(positions, clusters) + tf.range(batch_size, dtype=tf.int64) - earlier
        places = shuffled_places(position, tf.gather(sizes, clusters), clusters, seed)
        rows = designs.rows(tf.gather(first, clusters) + places)
        designs.count(number)
        positions = tf.tensor_scatter_nd_add(positions, order[:, None], draws)
        return (version, positions), pick(rows, tf.gather(weights, clusters))

    def pick(rows: tf.Tensor, weights: tf.Tensor) -> tuple[Any, ...]:
        x, y, *given = keras.tree.map_structure(lambda leaf: tf.gather(leaf, rows), data)
        return x, y, weights_of_batch(weights, given[0] if given else None, shapes)

    numbers = tf.data.Dataset.counter(start)
    stream = tf.data.Dataset.zip((numbers, order_stream(num_clusters, seed, start)))
    nothing_seen = (tf.constant(-1, tf.int64), tf.zeros([num_clusters], tf.int64))
    options = tf.data.Options()
    # Batches that were drawn ahead would have outdated clusters. (A `map` at the end
    # would be made parallel, and run ahead; a `scan` is not.)
    options.experimental_optimization.inject_prefetch = False
    return stream.scan(nothing_seen, draw).with_options(options)
