"""What is differentiated, where and how: the arguments that all quantities share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.batches import Batch, as_batch, in_chunks, state_of
from tf_gradvar.per_example.differentiate import Problem
from tf_gradvar.per_example.independence import check_once
from tf_gradvar.per_example.units import find_units


class Evaluation:
    """A batch of examples, a model and a loss, checked; arguments as for `statistics`.

    Attributes:
        units: Layers and the variables that each of them owns.
        problem: Model, loss and how to differentiate it.
        state: The weights at which the gradients are taken.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        loss: Any = None,
        *,
        sample_weight: Any = None,
        loss_weights: Any = None,
        training: bool = False,
        weights: Sequence[Any] | None = None,
        chunk_size: int | None = None,
        on_unknown: str = "fallback",
    ):
        self.units = find_units(model)
        self.state = state_of("weights", model, weights)
        self._batch = as_batch(x, y, sample_weight)
        problem = Problem(
            model, self.units, ModelLoss.of(model, loss, loss_weights), training, on_unknown
        )
        self.problem = check_once(problem, self._batch, self.state)
        self._chunk_size = chunk_size

    def in_chunks(
        self, of_slice: Callable[[Batch], tuple[list[tf.Tensor], list[tf.Tensor]]]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Results with an example axis, joined, and sums, added, over slices of the batch."""
        return in_chunks(of_slice, self._batch, self._chunk_size)
