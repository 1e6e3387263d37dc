"""Stacks whose rows lie on the devices of the batch axis of `keras.distribution` (on JAX)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tf_gradvar.keras_internals import shard_variable
from tf_gradvar.optimizers.backend.sharded_weights import count_devices
from tf_gradvar.ownership import Ownership

# One program holds the blocks of all devices.
BLOCKS_ARE_REPLICAS = False


def num_owners(optimizer: Any) -> int:
    """Return over how many devices an optimizer's clusters are divided."""
    del optimizer
    return count_devices()


def replica_id() -> Any:
    """Return 0: one program runs for all devices."""
    return 0


def make_owned_stack(
    optimizer: Any, ownership: Ownership, shape: Sequence[int], name: str
) -> keras.Variable:
    """Return a stack of zeros whose rows are divided among the devices of the batch axis.

    Raises:
        ValueError: If they do not divide evenly.
    """
    import jax

    del optimizer
    if ownership.num_clusters % ownership.num_replicas:
        raise ValueError(
            "`num_clusters` must be a multiple of the devices that own clusters, on JAX. Received: "
            f"num_clusters={ownership.num_clusters} with {ownership.num_replicas} devices. Take "
            "another number of devices or clusters, or `buffers='full'`."
        )
    stack = keras.Variable("zeros", tuple(shape), "float32", trainable=False, name=name)
    axis = keras.distribution.distribution().batch_dim_name
    rows = jax.sharding.PartitionSpec(axis)
    shard_variable(stack, jax.sharding.NamedSharding(stack.value.sharding.mesh, rows))
    return stack
