"""The estimate of SVRG: a mini-batch, minus its error at a snapshot of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradvar.estimators.mini_batch import MiniBatch, default_name
from tf_gradvar.estimators.protocol import GradientFunction, Gradients, MeanGradient, WeightedBatch


class SVRG(MiniBatch):
    """Stochastic variance-reduced gradient.

    ``estimate = mean_B(g_i - g~_i) + m~`` with g~_i at the snapshot's weights and m~ their mean:
    ``V = (mean_i ||g_i - g~_i||^2 - ||m - m~||^2) / B``, times (N - B) / (N - 1) without
    replacement. It is 0 at the snapshot.

    Args:
        batch_size: B.
        snapshot: Weights, arrays in the order of `model.weights` (as `model.get_weights()`) or
            of `model.trainable_variables`. Defaults to none until `take_snapshot`.
        replacement: Whether the examples are independent draws (default), or distinct.
        name: Key of the results. Defaults to "SVRG-B" with the number.

    Raises:
        ValueError: `batch_size` below 1; when it is measured, no snapshot.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> svrg = SVRG(128)
        >>> svrg.take_snapshot(model)
        >>> svrg, len(svrg.snapshot)
        (SVRG(name='SVRG-128'), 2)

    Source: Johnson and Zhang 2013; Faghri et al. 2020, section 4.

    Cost: exactly measured, two more passes over the data; for draws, one pass at the snapshot.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        snapshot: Sequence[Any] | None = None,
        replacement: bool = True,
        name: str | None = None,
    ):
        super().__init__(
            batch_size,
            replacement=replacement,
            name=name or default_name("SVRG", batch_size, replacement),
        )
        self._snapshot: list[np.ndarray] | None = None
        if snapshot is not None:
            self.set_snapshot(snapshot)

    @property
    def snapshot(self) -> Sequence[Any] | None:
        """The snapshot's weights, or None before there are any."""
        return self._snapshot

    def take_snapshot(self, model: Any) -> None:
        """Copy the model's present weights.

        Args:
            model: A built `keras.Model`.
        """
        self.set_snapshot(model.get_weights())

    def set_snapshot(self, weights: Sequence[Any]) -> None:
        """Copy the weights of a snapshot that was taken before.

        Args:
            weights: As `snapshot` in the constructor.
        """
        self._snapshot = [np.array(weight) for weight in weights]

    def check(self, model: Any) -> None:
        """Raise if there is no snapshot."""
        if self._snapshot is None:
            raise ValueError(
                f"The estimator {self.name!r} must have a snapshot of the weights: call its "
                "`take_snapshot(model)` first, or pass `snapshot=model.get_weights()`. "
                "Received: snapshot=None."
            )

    def prepare(self, mean_gradient: MeanGradient) -> Gradients:
        """Return m~, the mean gradient at the snapshot, a list of arrays `[*shape]`."""
        return mean_gradient(self._snapshot or [])

    def estimate(
        self, batches: list[WeightedBatch], gradient: GradientFunction, seed: int, prepared: Any
    ) -> Gradients:
        """Return the difference of two gradients of one batch, under the same masks, plus m~."""
        (batch,) = batches
        here, there = gradient(batch, None, seed), gradient(batch, self._snapshot, seed)
        return [g - h + m for g, h, m in zip(here, there, prepared, strict=True)]
