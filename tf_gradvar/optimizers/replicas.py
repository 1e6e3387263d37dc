"""Optimizers on several replicas: the share of each, and what Keras cannot do there."""

from __future__ import annotations

from typing import Any

import keras

from tf_gradvar.keras_internals import clip_gradients, distribution_strategy
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


def share_of_replica(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    """Return the share of each replica in gradients that all replicas hold in full.

    The optimizer clips, then sums over the replicas. Clipping the full gradient first makes its
    own clipping of the share do nothing.

    Args:
        optimizer: The Keras optimizer that is about to step with them.
        gradients: Tensors, or None.
    """
    replicas = backend.num_replicas()
    if replicas == 1:
        return gradients
    given = [g for g in gradients if g is not None]
    if optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue:
        scale = optimizer.loss_scale_factor or 1.0
        given = [g * scale for g in clip_gradients(optimizer, [g / scale for g in given])]
    shares = iter([g / replicas for g in given])
    return [None if g is None else next(shares) for g in gradients]
