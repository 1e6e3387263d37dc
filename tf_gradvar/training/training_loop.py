"""The training loop for every strategy: what `fit` does, where `fit` does not run, too."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import build_for_training
from tf_gradvar.optimizers.control_variate import find_control_variate
from tf_gradvar.optimizers.igt import find_igt
from tf_gradvar.training.checkpoints import Checkpoints, Progress
from tf_gradvar.training.cluster_batch import check_made_in_scope
from tf_gradvar.training.cluster_model import ClusterModel
from tf_gradvar.training.fit_limits import refuse_compiled_cpu_replicas
from tf_gradvar.training.loop_plan import Plan
from tf_gradvar.training.preemption import Preempted, StopRequest
from tf_gradvar.training.read_on import Reading
from tf_gradvar.training.skipped_groups import SkippedGroupsWarning
from tf_gradvar.training.validation import Validation
from tf_gradvar.training.workers import any_worker, is_chief, naming_lost_workers, write_elsewhere


def train_steps(
    model: keras.Model,
    dataset: tf.data.Dataset,
    steps: int,
    *,
    steps_per_call: int = 50,
    steps_per_epoch: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    verbose: int = 0,
) -> Iterator[dict[str, float]]:
    """Train a compiled model without `model.fit`, under any strategy, TPUs included.

    `model.fit` of Keras 3 does not run under every strategy (it fails on several workers);
    a loop of `strategy.run(model.train_step)` does. The steps of a call are one
    `tf.function`, so that the host waits once a call.

    **Callbacks** are those of `fit`; one that acts on batches is called once a call, as with
    `steps_per_execution`. Every worker runs them all, with the same logs. What ModelCheckpoint,
    CSVLogger, TensorBoard and the callbacks of this package write goes into a temporary folder on
    all workers but the chief; the progress bar is the chief's alone.

    **Checkpoints.** The same call again, in a new process, goes on from the last checkpoint in
    `checkpoint_dir`, to the weights of an uninterrupted run: weights, optimizer, metrics, seeds of
    layers and the place in the data are restored, callbacks begin anew. Datasets of
    `cluster_batches` go on at once; of any other the batches that were taken are read again, so it
    must give the same ones. On SIGTERM the loop saves after the call that is running and ends the
    process with status 143. With several workers all must read `checkpoint_dir`. When one is lost,
    the others end with an error: start all of them again.

    Args:
        model: A compiled `ClusterModel` (or any compiled Keras model), built.
        dataset: Batches for all replicas together, with a static size; as many as steps at least.
        steps: The number of steps, a multiple of `steps_per_call`; with `checkpoint_dir`
            including those before the checkpoint.
        steps_per_call: Steps between two moments in which Python runs. Defaults to 50.
        steps_per_epoch: Steps between two results, a multiple of `steps_per_call` that divides
            `steps`. Defaults to `steps_per_call`.
        callbacks: Keras callbacks. Defaults to none.
        validation_data: What to evaluate at the end of each epoch: `(x, y)`, `(x, y, weights)` or
            a `tf.data.Dataset` of batches. Defaults to nothing.
        validation_steps: Batches of it to read. Defaults to all.
        checkpoint_dir: The folder for checkpoints. Defaults to none.
        checkpoint_every: Steps between two checkpoints, a multiple of `steps_per_call`. Defaults
            to `steps_per_epoch`. The last step always has one.
        verbose: 1 for a progress bar, 2 for a line an epoch. Defaults to 0.

    Yields:
        The metrics over the steps of each epoch, by name, and those of validation with `val_`
        before the name.

    Raises:
        ValueError: If numbers of steps break their rules, the model was made outside the scope of
            the strategy that trains it, `jit_compile` is set with several CPU replicas, or a
            checkpoint does not fit the model or the dataset.
        LostWorkerError: A RuntimeError, if another worker is lost.
        Preempted: A SystemExit, after a SIGTERM with `checkpoint_dir`.

    Example:
        >>> import keras, numpy as np
        >>> from tf_gradvar import ClusterModel, cluster_batches
        >>> from tf_gradvar.training import train_steps
        >>> x, y = np.eye(4, dtype="float32"), np.array([0, 0, 1, 1])
        >>> model = ClusterModel.from_model(
        ...     keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
        >>> model.compile(keras.optimizers.SGD(0.1),
        ...               keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> batches = cluster_batches((x, y), y, num_clusters=2, group_size=2, seed=0)
        >>> results = train_steps(model, batches, 4, steps_per_call=2, validation_data=(x, y))
        >>> [sorted(metrics) for metrics in results]
        [['loss', 'val_loss'], ['loss', 'val_loss']]

    Cost: that of the steps; the host waits for the devices once in `steps_per_call` steps, and each
    checkpoint writes weights and the optimizer's variables.
    """
    plan = Plan.of(steps, steps_per_call, steps_per_epoch, checkpoint_dir, checkpoint_every)
    if isinstance(model, ClusterModel):
        model.use_sampling_of(dataset)
    check_made_in_scope(model)
    refuse_compiled_cpu_replicas(model)
    _refuse_other_backups(callbacks)
    with model.distribute_strategy.scope():  # inside a step, variables would come too late
        build_for_training(model, dataset.element_spec)
    validation = None
    if validation_data is not None:
        validation = Validation(model, validation_data, validation_steps)
    checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir, model)
    made = _callback_list(model, callbacks, plan, verbose)
    return TrainingLoop(model, dataset, plan, made, validation, checkpoints).results()


class TrainingLoop:
    """The loop behind `train_steps`, over what is checked and made.

    Args:
        model: Compiled and built, with its metrics.
        dataset: Batches for all replicas together.
        plan: The numbers of steps.
        callbacks: Those that are called.
        validation: What happens at the end of an epoch, or None.
        checkpoints: Where to go on from and what to save to, or None.
    """

    def __init__(
        self,
        model: keras.Model,
        dataset: tf.data.Dataset,
        plan: Plan,
        callbacks: keras.callbacks.CallbackList,
        validation: Validation | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        self._model, self._dataset, self._plan = model, dataset, plan
        self._strategy = model.distribute_strategy
        self._callbacks, self._validation = callbacks, validation
        self._checkpoints = checkpoints
        self._step = 0
        self._must_stop = self._preempted = False

    def results(self) -> Iterator[dict[str, float]]:
        """Train, and yield the logs of each epoch."""
        wanted = self._checkpoints is not None
        with naming_lost_workers(self._strategy), StopRequest(wanted) as stop:
            start = self._checkpoints.restore() if self._checkpoints else Progress()
            self._step = start.step
            if start.finished or start.step >= self._plan.steps:
                return
            self._reading = Reading(self._dataset, start)
            batches = self._reading.distributed(self._strategy)
            take_steps = _steps_of(self._model, iter(batches), self._plan.steps_per_call)
            yield from self._epochs(take_steps, stop)

    def _epochs(
        self, take_steps: Callable[[], dict[str, Any]], stop: StopRequest
    ) -> Iterator[dict[str, float]]:
        model, plan, callbacks = self._model, self._plan, self._callbacks
        model.stop_training = self._must_stop = False
        logs: dict[str, float] = {}
        callbacks.on_train_begin()
        try:
            while self._step < plan.steps and not self._must_stop:
                logs = self._epoch(take_steps, stop)
                yield logs
                self._end_if_preempted()
        except GeneratorExit:  # nobody wants the other results
            if sys.is_finalizing():  # the whole process ends: callbacks find nothing any more
                return
        finalize = getattr(model.optimizer, "finalize_variable_values", None)
        if finalize is not None:
            finalize(model.trainable_weights)
        callbacks.on_train_end(logs)

    def _epoch(
        self, take_steps: Callable[[], dict[str, Any]], stop: StopRequest
    ) -> dict[str, float]:
        """Train to the end of an epoch, from its middle after a checkpoint there."""
        model, plan, callbacks = self._model, self._plan, self._callbacks
        epoch, place = divmod(self._step, plan.steps_per_epoch)
        if not place:
            model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        logs: dict[str, Any] = {}
        while place < plan.steps_per_epoch and not self._must_stop:
            callbacks.on_train_batch_begin(place)
            logs = take_steps()
            place += plan.steps_per_call
            self._step += plan.steps_per_call
            callbacks.on_train_batch_end(place - 1, logs)
            asked, self._must_stop = any_worker(self._strategy, stop.requested, model.stop_training)
            if place < plan.steps_per_epoch and not self._must_stop:
                self._save_if_due(asked)
                self._end_if_preempted()
        results = {name: float(value) for name, value in logs.items()}
        if self._validation is not None:
            results |= self._validation.run(callbacks)
        callbacks.on_epoch_end(epoch, results)
        asked, self._must_stop = any_worker(self._strategy, stop.requested, model.stop_training)
        self._save_if_due(asked)
        return results

    def _save_if_due(self, asked_to_stop: bool) -> None:
        """Write a checkpoint after a call, if it is time or a worker is asked to stop."""
        if self._checkpoints is None:
            return
        at_the_end = self._must_stop or self._step == self._plan.steps
        if asked_to_stop or at_the_end or self._step % self._plan.checkpoint_every == 0:
            state = self._reading.state(self._step)
            self._checkpoints.save(Progress(self._step, self._must_stop, state))
        self._preempted = asked_to_stop and not at_the_end

    def _end_if_preempted(self) -> None:
        if self._checkpoints is not None and self._preempted:
            raise Preempted(
                f"Stopped by SIGTERM after step {self._step}, of which {self._checkpoints.folder} "
                "holds a checkpoint: the same command goes on from there."
            )


def _steps_of(model: keras.Model, batches: Any, count: int) -> Callable[[], dict[str, Any]]:
    """Return a function that takes so many steps and returns the metrics since their reset."""
    step = functools.partial(model.distribute_strategy.run, model.train_step)
    if not model.run_eagerly:  # a function of its own, as in `fit`, is faster in the loop
        step = tf.function(step, autograph=False, jit_compile=model.jit_compile)

    def call() -> dict[str, Any]:
        def one_more(taken: tf.Tensor) -> tuple[tf.Tensor]:
            step(args=(batches.get_next(),))
            return (taken + 1,)

        tf.while_loop(lambda taken: taken < count, one_more, [tf.constant(0)])
        return model.get_metrics_result()

    compiled = call if model.run_eagerly else tf.function(call, autograph=False)
    igt = find_igt(model)

    def take_steps() -> dict[str, Any]:
        if igt is not None:
            igt.use_shifted_weights()
        try:
            return compiled()
        except tf.errors.OutOfRangeError as error:
            raise ValueError(
                "`dataset` must have a batch for each of the `steps`. Received: a dataset that "
                "ended before. Call `.repeat()` on it, or take fewer steps."
            ) from error
        finally:
            if igt is not None:
                igt.use_true_weights()

    return take_steps


def _callback_list(
    model: keras.Model, callbacks: Any, plan: Plan, verbose: int
) -> keras.callbacks.CallbackList:
    given = list(callbacks or [])
    variate = find_control_variate(model.optimizer)
    if variate is not None:
        given.insert(0, SkippedGroupsWarning(variate))
    chief = is_chief(model.distribute_strategy)
    if not chief:
        write_elsewhere(given)
    return keras.callbacks.CallbackList(
        given,
        add_history=True,
        add_progbar=bool(verbose) and chief,
        verbose=verbose,
        epochs=plan.epochs,
        steps=plan.steps_per_epoch,
        model=model,
    )


def _refuse_other_backups(callbacks: Any) -> None:
    for callback in callbacks or ():
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "`callbacks` must not hold a BackupAndRestore, which knows neither the place in "
                "the data nor the other workers. Received: a BackupAndRestore. Pass its folder as "
                "`checkpoint_dir` instead."
            )
