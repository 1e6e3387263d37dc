"""Gradients of weighted sums of losses, compiled once for a model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.estimators.cluster_means import MeansOfClusters
from tf_gradvar.estimators.protocol import Gradients
from tf_gradvar.keras_internals import call_model, is_seed
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example import check_examples


class WeightedGradient(MeansOfClusters):
    """The compiled gradient of `sum_i a_i loss_i` over a batch; the model is not changed."""

    def __init__(self, loss: ModelLoss, training: bool):
        self._model, self._loss, self._training = loss.model, loss, training
        self._compiled = tf.function(self._gradient, autograph=False, reduce_retracing=True)

    def __call__(
        self, data: tuple[Any, Any, Any], coefficients: np.ndarray, weights: Any, seed: int
    ) -> Gradients:
        """Return the gradient at given weights (None: the present ones), as float64 arrays.

        A `compute_loss` of the model's own is taken of the batch as it is where all coefficients
        are equal, and of one example after the other where they differ.
        """
        as_it_is = self._loss.computes_itself and bool(np.ptp(coefficients) == 0)
        if self._loss.computes_itself and not as_it_is:
            check_examples(self._loss, *data)
        x, y, sample_weight = keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), data
        )
        trainable, other = self._values(weights, seed)
        a = tf.constant(coefficients, tf.float64)
        gradients = self._compiled(x, y, sample_weight, a, trainable, other, as_it_is)
        return [np.asarray(gradient).astype(np.float64) for gradient in gradients]

    def _values(self, weights: Any, seed: int) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        model = self._model
        given: dict[int, Any] = {}
        if weights is not None:
            some = model.trainable_variables
            every = some if len(weights) == len(some) else model.weights
            given = {id(v): w for v, w in zip(every, weights, strict=True)}
        rng = np.random.default_rng(seed)

        def value(variable: keras.Variable) -> tf.Tensor:
            if is_seed(variable):
                return tf.constant(rng.integers(0, 2**31 - 1, 2), variable.dtype)
            return tf.convert_to_tensor(given.get(id(variable), variable.value), variable.dtype)

        return (
            [value(v) for v in model.trainable_variables],
            [value(v) for v in model.non_trainable_variables],
        )

    def _gradient(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        coefficients: Any,
        trainable: Any,
        other: Any,
        as_it_is: bool,
    ) -> Any:
        model, loss = self._model, self._loss
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            state = zip(variables, [*trainable, *other], strict=True)
            # The layers themselves would update their statistics and seeds.
            with keras.StatelessScope(state, collect_losses=True) as scope:
                outputs = call_model(model, x, self._training)
                if as_it_is:
                    value = loss.of_batch(x, y, outputs, sample_weight, scope.losses)
                    total = tf.cast(tf.reduce_sum(coefficients), value.dtype) * value
                else:
                    losses = loss.of_examples(x, y, outputs, sample_weight, scope.losses)
                    total = loss.weighted_total(losses, scope.losses, coefficients)
        gradients = tape.gradient(total, trainable, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in gradients]
