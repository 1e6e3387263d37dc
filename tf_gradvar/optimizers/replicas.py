"""Optimizers on several replicas: the step of each, and what Keras cannot do there."""

from __future__ import annotations

import contextlib

import keras

from tf_gradvar.keras_internals import distribution_strategy, without_all_reduce
from tf_gradvar.optimizers.backend import functions as backend


def refuse_what_replicas_lack(optimizer: keras.optimizers.Optimizer) -> None:
    """Raise if the optimizer asks for what Keras cannot do under a multi-replica strategy.

    Keras conditions both features on a counter inside the replica and then merges the
    replicas within that condition, which TensorFlow refuses with an obscure message, for
    every optimizer (keras issue 20582).

    Args:
        optimizer: The optimizer that is about to be built.

    Raises:
        ValueError: If `gradient_accumulation_steps` or `ema_overwrite_frequency` is set
            and the strategy has more than one replica.
    """
    if keras.backend.backend() != "tensorflow":
        return
    replicas = distribution_strategy(optimizer).num_replicas_in_sync
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        value = getattr(optimizer, name)
        if replicas > 1 and value and (name != "ema_overwrite_frequency" or optimizer.use_ema):
            raise ValueError(
                f"`{name}` works on one replica only: Keras cannot apply it under a "
                f"distribution strategy. Received: {name}={value} with {replicas} replicas. "
                "Leave it at None; a larger batch replaces accumulation, and the "
                "`keras.callbacks.SwapEMAWeights` callback replaces overwriting."
            )


def step_of_replica(
    optimizer: keras.optimizers.Optimizer,
) -> contextlib.AbstractContextManager[None]:
    """Return a context in which an optimizer steps with gradients that all replicas hold in full.

    Every replica has worked out the same corrected gradient from the groups of all; summing it
    over them again would move as many bytes as the weights have, and count it once for each.

    Args:
        optimizer: The Keras optimizer that is about to step.
    """
    return (
        contextlib.nullcontext() if backend.num_replicas() == 1 else without_all_reduce(optimizer)
    )
