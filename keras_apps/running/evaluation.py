"""Evaluations of a run, after every segment of it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_apps import requirements
from keras_apps.experiments.optimizer_comparison import Run
from keras_apps.experiments.training_problem import Problem
from keras_apps.running.faults import of_the_system
from keras_apps.running.instruments import measured_values
from keras_apps.running.workdir import Workdir
from keras_apps.running.workers import Workers
from tf_gradvar.callbacks.steps import steps_taken


class Evaluation(keras.callbacks.Callback):
    """Evaluates the model and records the values, also for TensorBoard where it is installed.

    It ends `fit` where the score is no longer finite, and must stand after the instruments whose
    values it records.

    Attributes:
        score: The last value of the problem's score.
        diverged: Whether that is not finite.
    """

    def __init__(self, run: Run, problem: Problem, workdir: Workdir, every: int, workers: Workers):
        super().__init__()
        self.score = math.nan
        self.diverged = False
        self._run = run
        self._problem = problem
        self._records = workdir.records
        self._every = every
        self._workers = workers
        self._events = None
        if not run.tunes and requirements.has_tensorboard():
            self._events = _Events(workdir.tensorboard(run.name))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of a segment."""
        self._first_step = steps_taken(self.model)
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Read the clock."""
        self._seconds = time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate and record at the end of a segment that was not broken off."""
        step = steps_taken(self.model)
        if step % self._every == 0:
            speed = (step - self._first_step) / self._seconds
            self.record(step, self.model, steps_per_second=speed, **measured_values(logs or {}))
            if self.diverged:
                self.model.stop_training = True

    def record(self, step: int, model: keras.Model, **others: float) -> None:
        """Evaluate the model at a step; `others` are recorded beside."""
        values = self._workers.mean({**self._problem.evaluate(model), **others})
        self.score = values[self._problem.score]
        self.diverged = not math.isfinite(self.score)
        record = {"kind": "evaluation", **self._run.identity, "step": step, **values}
        self._records.append(record)
        if self._events is not None:
            self._events.write(step, values)

    def close(self) -> None:
        """Finish the TensorBoard log."""
        if self._events is not None:
            self._events.close()


class _Events:
    """Values of a run for TensorBoard, which TensorFlow writes."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._folder, self._write_scalar = folder, tf.summary.scalar
        with of_the_system(folder):
            self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        with of_the_system(self._folder), self._writer.as_default(step=step):
            for name, value in values.items():
                self._write_scalar(name, value)

    def close(self) -> None:
        with of_the_system(self._folder):
            self._writer.close()
