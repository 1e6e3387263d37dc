"""A sentence at the end of an epoch in which groups had to be left out."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from tf_gradvar.optimizers.control_variate import ClusterControlVariate


class SkippedGroupsWarning(keras.callbacks.Callback):
    """Warns at the end of an epoch if the optimizer left groups out of its steps.

    `ClusterModel.fit` adds it by itself.

    Args:
        optimizer: The Discover optimizer, which counts what it leaves out.
    """

    def __init__(self, optimizer: ClusterControlVariate) -> None:
        super().__init__()
        self._optimizer = optimizer
        self._seen = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forget what was left out before."""
        del logs
        self._seen = self._count()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Warn of what was left out in the epoch."""
        del logs
        count = self._count()
        if count > self._seen:
            warnings.warn(
                f"In epoch {epoch + 1}, {count - self._seen} groups were left out of the steps: "
                "their gradient was not finite, or their cluster ids were out of range or "
                "mixed. The weights and the buffers of the other groups were not touched by "
                "them. Look for NaN in the data, lower the learning rate or clip gradients, "
                "and make batches with `tf_gradvar.data.cluster_batches`.",
                stacklevel=2,
            )
        self._seen = count

    def _count(self) -> int:
        if not self._optimizer.built:
            return 0
        return int(keras.ops.convert_to_numpy(self._optimizer.skipped_groups))
