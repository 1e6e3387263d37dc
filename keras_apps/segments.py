"""Work between the segments of a training run: evaluations, records, checkpoints."""

from __future__ import annotations

import math
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_apps import requirements
from keras_apps.checkpointing import RunCheckpoint
from keras_apps.experiment import Experiment, Run
from keras_apps.faults import of_the_system
from keras_apps.problems import Problem
from keras_apps.progress import Display, Interruption
from keras_apps.workdir import Workdir
from tf_gradvar.callbacks import Recluster, between_cluster_variance
from tf_gradvar.callbacks import recluster as reclustering
from tf_gradvar.callbacks.steps import steps_taken

# Values of an epoch's logs that are recorded, by how their names begin.
MEASURED = (between_cluster_variance.LOG_PREFIX, reclustering.LOG_PREFIX)


def identity(run: Run) -> dict[str, Any]:
    """What every record of a run begins with."""
    return {
        "run": run.name,
        "optimizer": run.optimizer.name,
        "groups": run.groups,
        "seed": run.seed,
        "tunes": run.tunes,
    }


class Recorder:
    """Evaluates a model and records the values, also for TensorBoard where it is installed."""

    def __init__(self, run: Run, experiment: Experiment, problem: Problem, workdir: Workdir):
        self.score = math.nan
        self.diverged = False
        self._identity = identity(run)
        self._problem = problem
        self._records = workdir.records
        self._logs = workdir.tensorboard(run.name)
        self._writer = None
        if not run.tunes and requirements.has_tensorboard():
            with of_the_system(self._logs):
                self._writer = tf.summary.create_file_writer(str(self._logs))

    def record(self, step: int, model: keras.Model, **others: float) -> None:
        """Evaluate the model at a step; `others` are recorded beside."""
        values = {**self._problem.evaluate(model), **others}
        self.score = values[self._problem.score]
        self.diverged = not math.isfinite(self.score)
        self._records.append({"kind": "evaluation", **self._identity, "step": step, **values})
        if self._writer is not None:
            with of_the_system(self._logs), self._writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def close(self) -> None:
        """Finish the TensorBoard log."""
        if self._writer is not None:
            with of_the_system(self._logs):
                self._writer.close()


class Segments(keras.callbacks.Callback):
    """After each segment of a run: evaluate, record and checkpoint. Watches for Ctrl-C.

    It must run after the callbacks in `before`: it records the values that they measured and the
    clusters that they found.
    """

    def __init__(
        self,
        first_step: int,
        batches: Any,
        before: list[keras.callbacks.Callback],
        recorder: Recorder,
        checkpoint: RunCheckpoint,
        experiment: Experiment,
        display: Display,
        interruption: Interruption,
    ):
        super().__init__()
        self.taken = 0
        self.batches = batches
        self.before = before
        self._first_step = first_step
        self._recorder = recorder
        self._checkpoint = checkpoint
        self._experiment = experiment
        self._display = display
        self._interruption = interruption

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock of a segment."""
        self._taken_before = self.taken
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the step; stop here after an interruption."""
        # Not from `batch`: up to Keras 3.8 it is the first one of an execution, later the last.
        self.taken = steps_taken(self.model) - self._first_step
        self._seconds = time.perf_counter() - self._started
        self._display.show_step(self._first_step + self.taken)
        if self._interruption.requested:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, record and, where it is due, checkpoint."""
        step = self._first_step + self.taken
        if step % self._experiment.evaluate_every:
            return
        measured = {
            name.replace("/", "_"): value
            for name, value in (logs or {}).items()
            if name.startswith(MEASURED) and not math.isnan(value)
        }
        self._recorder.record(
            step,
            self.model,
            steps_per_second=(self.taken - self._taken_before) / self._seconds,
            **measured,
        )
        if self._recorder.diverged:
            self.model.stop_training = True
        elif step % self._experiment.checkpoint_every == 0 and step < self._experiment.steps:
            self._checkpoint.save(step, self.state())

    def state(self) -> dict[str, Any]:
        """What the data need to go on from here, JSON-plain."""
        state = self.batches.sampling.state(batches_taken=self.taken)
        for callback in self.before:
            if isinstance(callback, Recluster):
                state["assignments"] = np.asarray(callback.assignments).tolist()
        return state
