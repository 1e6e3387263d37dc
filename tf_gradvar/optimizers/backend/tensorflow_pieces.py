"""Stacks of which every replica of `tf.distribute` keeps the rows that it owns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_gradvar.keras_internals import VariableInPieces, distribution_strategy
from tf_gradvar.optimizers.backend.tensorflow_rows import read
from tf_gradvar.ownership import Ownership

# Each replica runs a program of its own, which sees its own block of clusters.
BLOCKS_ARE_REPLICAS = True


def num_owners(optimizer: Any) -> int:
    """Return over how many replicas an optimizer's clusters are divided."""
    return int(distribution_strategy(optimizer).num_replicas_in_sync)


def replica_id() -> Any:
    """Return the number of the replica that runs the code that calls this, an int32 scalar."""
    context = tf.distribute.get_replica_context()
    return tf.cast(context.replica_id_in_sync_group if context else 0, tf.int32)


def make_owned_stack(
    optimizer: Any, ownership: Ownership, shape: Sequence[int], name: str
) -> OwnedStack:
    """Return a stack of zeros in pieces, for an optimizer on several replicas."""
    strategy = distribution_strategy(optimizer)
    return OwnedStack(
        strategy,
        ownership,
        initializer="zeros",
        shape=tuple(shape),
        dtype="float32",
        trainable=False,
        name=name,
    )


class OwnedStack(VariableInPieces):
    """A stack [K, *shape] in pieces: replica r keeps the rows of its block.

    All pieces are as long as the longest, ceil(K / R) rows. Reading and assigning the whole takes
    it through the memory of every device; with several workers, each of them must do it.

    Args:
        strategy: The `tf.distribute` strategy of R replicas.
        ownership: Of the K rows.
        **kwargs: Arguments of `keras.Variable`; `shape` is that of the whole.
    """

    def __init__(self, strategy: Any, ownership: Ownership, **kwargs: Any) -> None:
        self._strategy, self._ownership = strategy, ownership
        super().__init__(**kwargs)

    def make_pieces(self, initializer: Any) -> Any:
        """Return the variable of `tf.distribute` that holds the pieces."""
        shape = (self._ownership.most, *self.shape[1:])
        with tf.init_scope(), self._strategy.scope():
            return tf.Variable(
                lambda: initializer(shape, dtype=self.dtype),
                trainable=False,
                name=self.name,
                # Every replica writes its own, and nobody adds them up.
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.NONE,
            )

    def read_whole(self) -> Any:
        """Return the rows of all replicas, an array [K, *shape]."""
        pieces = self._strategy.run(lambda: tf.identity(read(self)))
        local = self._strategy.experimental_local_results(pieces)
        if len(local) < self._ownership.num_replicas:  # the others are on other workers
            local = tf.split(self._strategy.gather(pieces, 0), self._ownership.num_replicas)
        counts = self._ownership.counts
        rows = [piece.numpy()[:n] for piece, n in zip(local, counts, strict=True)]
        return np.concatenate(rows)

    def write_whole(self, value: Any) -> None:
        """Give every replica its rows.

        Args:
            value: A tensor [K, *shape].
        """
        value = tf.cast(value, self.dtype)
        starts = tf.constant(self._ownership.starts, tf.int32)
        rest = self._ownership.starts[-1] + self._ownership.most - self.shape[0]
        value = tf.pad(value, [(0, rest), *[(0, 0)] * (len(value.shape) - 1)])

        def put() -> None:
            context = tf.distribute.get_replica_context()
            start = starts[context.replica_id_in_sync_group]
            piece = value[start : start + self._ownership.most]
            piece = tf.ensure_shape(piece, (self._ownership.most, *self.shape[1:]))
            tf.raw_ops.AssignVariableOp(resource=self.handle, value=piece)

        self._strategy.run(put)

    def on_host(self, value: Any) -> Any:
        """Return an array as a tensor in the memory of the host, to be saved from there."""
        # Without a device, a checkpoint would have parts that Keras' variables cannot restore.
        with tf.device("CPU:0"):
            return tf.constant(value)
