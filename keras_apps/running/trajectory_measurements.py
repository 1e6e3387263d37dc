"""Measurements at the steps of a trajectory that are due, and their records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.trajectory_batches import MeasuredExamples
from tf_gradvar.callbacks.steps import StepCount
from tf_gradvar.estimators import Estimator
from tf_gradvar.estimators.measure import VarianceMeter
from tf_gradvar.records import RecordFile

PUBLISHED = "paper_2020"


class Clock:
    """Seconds since it was made, apart from those inside of `measuring`, and seconds in there.

    Args:
        training: Seconds of training before.
        measuring: Seconds of measuring before.
    """

    def __init__(self, training: float = 0.0, measuring: float = 0.0) -> None:
        self._measuring, self._started = measuring, time.perf_counter() - training - measuring
        self._begun = self._started

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *exception: Any) -> None:
        self._measuring += time.perf_counter() - self._begun

    def seconds(self) -> dict[str, float]:
        """Return both sums, as records name them; inside, up to now."""
        now = time.perf_counter()
        return {
            "training_seconds": now - self._started - self._measuring,
            "measuring_seconds": self._measuring,
        }


class Measurements(keras.callbacks.Callback):
    """Measures all estimators and evaluates the model every so many steps; training never changes.

    A record holds the `step`, the `seed` of the trajectory, the `method` and its `estimators` (name
    -> values), the `learning_rate` of the next step, what the problem evaluates (loss and accuracy
    of training and test examples), seconds so far, and under `published` the statistic of the
    paper's figures where that is due.

    Args:
        trajectory: When to measure what.
        problem: Evaluates the model.
        examples: What is measured; shown anew each time.
        estimators: What is compared.
        seed: Of this trajectory.
        records: Where records go.
        clock: Keeps the time of measuring.
        done: What to do at last, with the step.

    Attributes:
        last: The last record, or None.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        problem: Problem,
        examples: MeasuredExamples,
        estimators: Sequence[Estimator],
        seed: int,
        records: RecordFile,
        clock: Clock,
        done: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._trajectory, self._problem, self._examples = trajectory, problem, examples
        self._estimators, self._seed = estimators, seed
        self._records, self._clock, self._done = records, clock, done
        self._meters: dict[str, VarianceMeter] = {}
        self.last: dict[str, Any] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count from here on."""
        self._count = StepCount(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure if that is due."""
        step = self._count.after(batch)
        if step % self._trajectory.measure_every:
            return
        with self._clock:
            self.last = self._record(step)
        self._records.append(self.last | self._clock.seconds())
        self._done(step)

    def _record(self, step: int) -> dict[str, Any]:
        trajectory, started = self._trajectory, time.perf_counter()
        self._examples.renew(step)
        estimators, histogram = self._measured(trajectory.method, step)
        published: dict[str, Any] = {}
        if trajectory.published_every and step % trajectory.published_every == 0:
            published = {"published": self._measured(PUBLISHED, step)[0]}
        return {
            "step": step,
            "seed": self._seed,
            "method": trajectory.method,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "estimators": estimators,
            **published,
            **self._problem.evaluate(self.model),
            **({} if histogram is None else {"norm_histogram": histogram}),
            "seconds": time.perf_counter() - started,
        }

    def _measured(self, method: str, step: int) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
        trajectory = self._trajectory
        if method not in self._meters:
            self._meters[method] = VarianceMeter(
                self.model,
                self._examples.x,
                self._examples.y,
                self._problem.loss,
                self._estimators,
                method=method,
                subset_size=trajectory.subset_size,
                num_draws=trajectory.num_draws,
                seed=self._seed,
            )
        results, histogram = self._meters[method].measure(step)
        return {name: result.to_record() for name, result in results.items()}, histogram
