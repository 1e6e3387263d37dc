"""`gradient_variance`: the variance of gradient estimators at the weights of a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_gradvar import per_example
from tf_gradvar.data.examples import Examples, as_examples
from tf_gradvar.data.fingerprint import refuse_other_data
from tf_gradvar.estimators.draws import measure_draws
from tf_gradvar.estimators.measurable import check_estimators, check_labels, refuse_training_mode
from tf_gradvar.estimators.norms import norm_histogram
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.results import EstimatorVariance
from tf_gradvar.estimators.weighted_gradient import WeightedGradient
from tf_gradvar.estimators.whole import PieceStatistics, measure_whole
from tf_gradvar.losses import ModelLoss
from tf_gradvar.moments import Layout

logger = logging.getLogger(__name__)


class Measurement(NamedTuple):
    """What `VarianceMeter.measure` returns.

    Attributes:
        results: Estimator's name -> its variance.
        norm_histogram: Per-example gradient norms (see `norm_histogram`); None for methods that
            see no single example.
    """

    results: dict[str, EstimatorVariance]
    norm_histogram: dict[str, list[float]] | None


class VarianceMeter:
    """Measures again and again without compiling again; `gradient_variance` uses it once.

    The estimators may change between measurements (snapshots, assignments), the model's weights
    too. A model whose layers or `trainable` flags change needs a new meter.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[N, ...]` or a dataset, as for `gradient_variance`.
        y: Labels, `[N, ...]`; None for a dataset.
        loss: As for `gradient_variance`.
        estimators: What is measured.
        **options: `method`, `num_draws`, `seed` and the others of `MeasuringOptions`.

    Raises:
        ValueError: As `gradient_variance`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.estimators import MiniBatch
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> meter = VarianceMeter(model, x, y, "mse", [MiniBatch(2)])
        >>> meter.measure().results["SG-2"].variance  # of (6, 12, 6) and (42, 56, 14), halved
        412.0

    Source: as `gradient_variance`.

    Cost: that of `gradient_variance` for each measurement; the first one compiles.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        loss: Any,
        estimators: Sequence[Estimator] | Estimator,
        **options: Any,
    ):
        self.options = MeasuringOptions(**options)
        self.estimators = check_estimators(estimators)
        self._model = model
        self._examples: Examples = as_examples(x, y, self.options.sample_weight)
        self._loss = ModelLoss(model, loss, self.options.loss_weights)
        check_labels(model, x, y, self._loss.loss)
        self._layout = Layout.of(
            per_example.variable_layers(model),
            [tuple(variable.shape) for variable in model.trainable_variables],
        )
        if self.options.training and not self.options.draws:
            refuse_training_mode(model, self.options.method)
        self._statistics = PieceStatistics(self._loss)
        self._gradient = WeightedGradient(self._loss, self.options.training)

    @property
    def layout(self) -> Layout:
        """The layers of the model."""
        return self._layout

    def measure(self, step: int = 0) -> Measurement:
        """Measure at the model's present weights.

        Args:
            step: Of training; every step has its own random draws and subset.

        Returns:
            A `Measurement`. Layers with gradients that are not finite are named in the log and
            in the results, whose values are then NaN or infinite.

        Raises:
            ValueError: An estimator that does not fit the model or the data.
        """
        self._check_fit()
        options = self.options
        histogram = None
        # A gradient that is not finite is reported below, not by each operation on it.
        with np.errstate(invalid="ignore", over="ignore"):
            if options.draws:
                results = measure_draws(
                    self._gradient, self._layout, self._examples, self.estimators, options, step
                )
            else:
                first = next(iter(self._examples.pieces(None, None, options.chunk_size)))
                per_example.check_examples(self._loss, first.x, first.y, first.sample_weight)
                results, seen = measure_whole(
                    self._statistics, self._layout, self._examples, self.estimators, options, step
                )
                histogram = norm_histogram(
                    [np.sqrt(part.norms) for part in seen], [part.size for part in seen]
                )
        _report_not_finite(results)
        return Measurement({e.name: results[e.name] for e in self.estimators}, histogram)

    def _check_fit(self) -> None:
        for estimator in self.estimators:
            estimator.check(self._model)
            given = estimator.assignments
            if given is not None and len(given) != self._examples.count:
                raise ValueError(
                    f"`assignments` of {estimator.name!r} must have one entry for each of the "
                    f"{self._examples.count} examples. Received: {len(given)} entries."
                )
            if estimator.data_fingerprint is not None:
                refuse_other_data(
                    "assignments", estimator.data_fingerprint, self._examples.fingerprint
                )


def gradient_variance(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    estimators: Sequence[Estimator] | Estimator,
    method: str = "exact",
    **options: Any,
) -> dict[str, EstimatorVariance]:
    r"""Return the variance of gradient estimators, side by side at the model's present weights.

        average variance      V[e] / d,  V[e] = trace of the covariance of one estimate e
        normalized variance   (1/d) sum_j Var[e_j] / E[e_j^2],  from 0 to 1

    over d parameters, of the gradients of the unreduced loss (weight regularisers left out).

    Exactly, from a random subset, or from estimates that are drawn: `MeasuringOptions` says what
    each method is for.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, an array `[N, ...]` or a structure of them; or a finite `tf.data.Dataset` or
            `keras.utils.PyDataset` of batches (x, y) or (x, y, sample_weight), which is streamed,
            and must keep its order where there are clusters or a subset.
        y: Labels, likewise; None for a dataset.
        loss: A Keras loss, its name, or a function (y_true, y_pred) -> [B]; None: what the model
            was compiled with, its `loss_weights` and a `compute_loss` of its own included.
        estimators: `MiniBatch`, `SVRG`, `Stratified`, `DiscoverEstimate`, of different names.
        method: "exact" (default), "subset", "monte_carlo" or "paper_2020".
        **options: `num_draws`, `subset_size`, `seed`, `per_layer`, `normalized`, `chunk_size`,
            `sample_weight`, `loss_weights` and `training`, as in `MeasuringOptions`.

    Returns:
        Estimator's name -> `EstimatorVariance` with `average_variance`, `normalized_variance`
        (None where not asked for), `standard_error` of the average variance (None where exact),
        `noise_scale`, `mean_gradient_norm`, and more.

    Raises:
        ValueError: Two estimators of one name, an unknown method, fewer than 2 draws, no
            examples, `training=True` for what only draws can measure, assignments or a snapshot
            that do not fit, and what `per_example.statistics` refuses.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.estimators import MiniBatch, Stratified, gradient_variance
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x = np.float32([[1, 2], [1, 2], [3, 4], [3, 4]])
        >>> y = np.zeros((4, 1), "float32")
        >>> estimators = [MiniBatch(2), Stratified(np.array([0, 0, 1, 1]), name="pairs")]
        >>> found = gradient_variance(model, x, y, "mse", estimators)
        >>> found["SG-2"].variance, found["pairs"].variance
        (412.0, 0.0)
        >>> round(found["SG-2"].normalized_variance, 3), found["SG-2"].standard_error
        (0.156, None)

    Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4;
    McCandlish et al. 2018, arXiv:1812.06162 (noise scale).

    Cost: `exact`: one pass for all estimators without clusters and one kind of clusters, another
    for each further kind, two more for each SVRG. Memory: that of a pass over `chunk_size`
    examples and a few copies of the parameters in float64 (one for each cluster where a dataset
    streams and there are clusters). `monte_carlo`: `num_draws` gradients for each estimator.
    """
    meter = VarianceMeter(model, x, y, loss, estimators, method=method, **options)
    return meter.measure().results


def _report_not_finite(results: dict[str, EstimatorVariance]) -> None:
    layers = sorted({layer for result in results.values() for layer in result.not_finite_layers})
    if layers:
        logger.warning("Gradients of these layers are infinite or not a number: %s.", layers)
