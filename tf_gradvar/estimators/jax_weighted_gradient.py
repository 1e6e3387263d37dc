"""Gradients of weighted sums of losses on JAX, compiled once for a model."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np

from tf_gradvar.estimators.cluster_means import MeansOfClusters
from tf_gradvar.estimators.protocol import Gradients
from tf_gradvar.keras_internals import call_model
from tf_gradvar.losses import ModelLoss


class WeightedGradient(MeansOfClusters):
    """The compiled gradient of `sum_i a_i loss_i` over a batch; the model is not changed.

    Args:
        loss: The loss of a model.
        training: Whether the model runs as in training.
    """

    def __init__(self, loss: ModelLoss, training: bool):
        self._loss, self._training = loss, training
        self._compiled = jax.jit(jax.grad(self._total))

    def __call__(
        self,
        data: tuple[Any, Any, Any],
        coefficients: np.ndarray,
        weights: Any = None,
        seed: int = 0,
    ) -> Gradients:
        """Return the gradient at given trainable weights (None: the present ones), in float64.

        Random layers draw the numbers that the model would draw next. A `compute_loss` of the
        model's own is taken of the batch as it is, with the sum of the coefficients.
        """
        del seed
        model = self._loss.model
        at = [v.value for v in model.trainable_variables] if weights is None else weights
        others = [v.value for v in model.non_trainable_variables]
        gradients = self._compiled(at, others, data, coefficients.astype(np.float32))
        return [np.asarray(gradient, np.float64) for gradient in gradients]

    def _total(self, trainable: Any, others: Any, data: tuple[Any, Any, Any], a: Any) -> Any:
        loss, model = self._loss, self._loss.model
        x, y, sample_weight = data
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        state = list(zip(variables, [*trainable, *others], strict=True))
        with keras.StatelessScope(state, collect_losses=True) as scope:
            outputs = call_model(model, x, self._training)
            if loss.computes_itself:
                return a.sum() * loss.of_batch(x, y, outputs, sample_weight, scope.losses)
            losses = loss.of_examples(x, y, outputs, sample_weight, scope.losses)
            return loss.weighted_total(losses, scope.losses, a)
