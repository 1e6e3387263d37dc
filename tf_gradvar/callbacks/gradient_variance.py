"""The variance of gradient estimators, measured while a model trains."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tf_gradvar.callbacks.log_values import NAME, log_values, missing_values, progress_line
from tf_gradvar.callbacks.per_model import PerModel
from tf_gradvar.callbacks.presets import preset_of
from tf_gradvar.callbacks.refreshing import ClusterFunction, Refresher
from tf_gradvar.callbacks.scheduled import ScheduledCallback
from tf_gradvar.callbacks.schedules import Schedule, old_schedules, schedule_of
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.estimators.measure import VarianceMeter
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator


class GradientVarianceLogger(ScheduledCallback):
    r"""Measures the variance of gradient estimators, side by side, at the weights of training.

    Measurements are made after the steps or epochs that are due, at the model's present weights
    (for IGT the true ones; under a distribution strategy those of the first replica), on data and
    with random numbers of the callback's own. Measuring changes nothing: the same seed with and
    without this callback gives bit-identical weights.

    At a step that is due for several things, SVRG snapshots are taken first, then the data are
    clustered again, then the variance is measured.

    **Where the results go.** `history`, a record for each measurement; the file at `path`, the
    same as JSON lines, which `tf_gradvar.plots` draws; and the logs of the epoch, as
    `gradient_variance/SG-128/average_variance` and so on, for TensorBoard, CSVLogger and History
    (NaN for an epoch without a measurement; the last one of several). A second logger in the same
    `fit` finds its keys taken and writes `gradient_variance_2/...`, unless `name` tells them
    apart. With `verbose=True` one line each is printed, and at the end the cost.

    Args:
        x: Inputs [N, ...] or a structure of them, or a finite `tf.data.Dataset` of batches.
        y: Labels, likewise; None for a dataset.
        estimators: `MiniBatch`, `SVRG`, `Stratified`, `DiscoverEstimate`, of different names.
        loss: Function (y, y_pred) -> losses [N], or a Keras loss. Defaults to the compiled loss,
            with its `loss_weights` and a `compute_loss` of the model's own.
        every: Steps from one measurement to the next; or a function step -> bool, such as
            `tf_gradvar.callbacks.log_spaced()` or `at([0, 100])`, where 0 is before the first
            step. Defaults to None: that of `every_epochs` or the `preset`.
        every_epochs: Measure at the end of every so many epochs. `every`, this or a `preset` must
            be given; the first two add up. Defaults to None.
        every_steps: Deprecated: a number for `every`. Defaults to None.
        at_steps: Deprecated: `every=at(at_steps)`. Defaults to None.
        schedule: Deprecated: a function for `every`. Defaults to None.
        snapshot_every: Steps from one SVRG snapshot to the next, or a function, as for `every`. A
            first one is taken when training starts. Defaults to that one alone.
        recluster: Function (model, step) -> assignments [N] for the only `Stratified` estimator;
            for several, a dictionary by their names. Defaults to none.
        recluster_every: Steps from one clustering to the next, or a function, as for `every`.
            Defaults to none: needed where `recluster` is given.
        path: A file for the records. Defaults to none.
        preset: How much a measurement may cost: "economy" (2 000 examples, no normalized variance,
            5 measurements while the steps grow tenfold), "business" (20 000 examples, by layer,
            10) or "full" (all examples, by layer, 20). What is given beside it holds instead.
            Defaults to none.
        name: What the keys in the logs begin with. Defaults to "gradient_variance".
        verbose: Whether to print. Defaults to False.
        **options: `method` (default: "exact"), `seed`, `per_layer`, `sample_weight` and the others
            of `tf_gradvar.estimators.MeasuringOptions`, as for `gradient_variance`.

    Attributes:
        history: Records: `"step"`, `"epoch"`, `"method"`, `"estimators"` (name -> values),
            `"norm_histogram"`, `"seconds"`, `"measuring_seconds"` and `"training_seconds"` so far.
        cost: Dict with the number of measurements, seconds measuring, and seconds of training
            without them.

    Raises:
        ValueError: No schedule, a hook that does not fit the estimators, intervals below 1, a
            `path` that cannot be written, options that `MeasuringOptions` refuses; when training
            starts, what `gradient_variance` refuses.

    Example:
        >>> import keras, numpy as np
        >>> from tf_gradvar.estimators import MiniBatch
        >>> keras.utils.set_random_seed(0)
        >>> x = np.eye(8, 4, dtype="float32")
        >>> y = x.sum(axis=1, keepdims=True)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> logger = GradientVarianceLogger(x, y, MiniBatch(2), every=2)
        >>> _ = model.fit(x, y, batch_size=2, epochs=1, verbose=0, callbacks=[logger])
        >>> [(record["step"], list(record["estimators"])) for record in logger.history]
        [(2, ['SG-2']), (4, ['SG-2'])]

    Source: Faghri et al. 2020, "A Study of Gradient Variance in Deep Learning", section 4.

    Cost: that of `gradient_variance` at each measurement; `cost` says what it came to.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        estimators: Sequence[Estimator] | Estimator,
        *,
        loss: Any = None,
        every: int | Schedule | None = None,
        every_epochs: int | None = None,
        every_steps: int | None = None,
        at_steps: Iterable[int] | None = None,
        schedule: Schedule | None = None,
        snapshot_every: int | Schedule | None = None,
        recluster: ClusterFunction | Mapping[str, ClusterFunction] | None = None,
        recluster_every: int | Schedule | None = None,
        path: str | os.PathLike[str] | None = None,
        preset: str | None = None,
        name: str = NAME,
        verbose: bool = False,
        **options: Any,
    ):
        due = [] if every is None else [schedule_of("every", every)]
        due += old_schedules(every_steps=every_steps, schedule=schedule, at_steps=at_steps)
        if preset is not None:
            chosen = preset_of(preset)
            options = {**chosen.options, **options}
            due = due or ([chosen.due] if every_epochs is None else [])
        if not due and every_epochs is None:
            raise ValueError(
                "When to measure must be given by `every`, in steps or as a function, by "
                "`every_epochs` or by a `preset`. Received: none of them."
            )
        super().__init__(name, due, x, path)
        self.estimators = [estimators] if isinstance(estimators, Estimator) else list(estimators)
        self._epoch_due = (
            None if every_epochs is None else schedule_of("every_epochs", every_epochs)
        )
        self._refresher = Refresher(self.estimators, snapshot_every, recluster, recluster_every)
        self._options = MeasuringOptions(**options)
        self._verbose = verbose
        self._meter = PerModel(
            lambda model: VarianceMeter(model, x, y, loss, self.estimators, **vars(self._options)),
            loss,
        )
        self._measuring = self._before = self._started = 0.0

    @property
    def cost(self) -> dict[str, float]:
        """Measurements, seconds measuring and seconds of training without them."""
        total = self._before + (time.perf_counter() - self._started if self._started else 0.0)
        return {
            "measurements": len(self.history),
            "measuring_seconds": self._measuring,
            "training_seconds": total - self._measuring,
        }

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, and what all scheduled callbacks do."""
        self._started = time.perf_counter()
        super().on_train_begin(logs)

    def prepare(self) -> None:
        """Take the first snapshots, and check that the estimators can be measured."""
        with _Timed(self):
            self._refresher.start(self.model)
            self._meter(self.model)

    def passed(self, steps: range) -> None:
        """Take snapshots and cluster, as far as they are due."""
        with _Timed(self):
            self._refresher.refresh(self.model, steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure if the epoch is due, and add the epoch's last measurement to the logs."""
        if self._epoch_due is not None and self._epoch_due(epoch + 1):
            self.act(steps_taken(self.model))
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock, and print the cost; warn if nothing was measured."""
        self._before += time.perf_counter() - self._started
        self._started = 0.0
        super().on_train_end(logs)
        if self._verbose:
            cost = self.cost
            print(
                f"{len(self.history)} measurements of gradient variance took "
                f"{cost['measuring_seconds']:.1f} s, training {cost['training_seconds']:.1f} s."
            )

    def missing(self) -> dict[str, float]:
        """Return NaN for every value in the logs."""
        return missing_values(self.estimators, self._options)

    def act(self, step: int) -> None:
        """Measure, and record it."""
        start = time.perf_counter()
        with _Timed(self):
            results, histogram = self._meter(self.model).measure(step)
        record: dict[str, Any] = {
            "step": step,
            "epoch": self._epoch,
            "method": self._options.method,
            "estimators": {name: result.to_record() for name, result in results.items()},
            "seconds": time.perf_counter() - start,
            **{k: v for k, v in self.cost.items() if k != "measurements"},
        }
        if histogram is not None:
            record["norm_histogram"] = histogram
        self.report(record, log_values(results))
        if self._verbose:
            print(progress_line(step, results, record["seconds"]))


class _Timed:
    """Adds the time inside to the seconds that were spent measuring."""

    def __init__(self, logger: GradientVarianceLogger):
        self._logger = logger

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *exception: Any) -> None:
        self._logger._measuring += time.perf_counter() - self._start
