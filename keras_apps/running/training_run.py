"""One training run: from the last checkpoint to the end, measured on the way."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from keras_apps.experiments.optimizer_comparison import Experiment, Run
from keras_apps.experiments.optimizer_rules import optimizer_of
from keras_apps.experiments.training_problem import Problem
from keras_apps.running.batches import drawn_batches, shown_batches
from keras_apps.running.checkpointing import CheckpointFolder, Checkpointing, discard
from keras_apps.running.device_rules import owns_clusters
from keras_apps.running.devices import Devices
from keras_apps.running.evaluation import Evaluation
from keras_apps.running.instruments import recluster_callback, variance_callbacks
from keras_apps.running.precision import dtype_policy
from keras_apps.running.progress import Display
from keras_apps.running.stopping import Interruption, StopOnRequest
from keras_apps.running.workdir import Workdir
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.training import ClusterModel

State = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """One run of an experiment, to be trained; nothing of it is shared with the other runs."""

    run: Run
    experiment: Experiment
    problem: Problem
    workdir: Workdir
    display: Display
    interruption: Interruption
    devices: Devices = dataclasses.field(default_factory=Devices)

    @functools.cached_property
    def clustered(self) -> Problem:
        """The problem with the clusters that the run begins with."""
        return self.problem.clustered(self.run.optimizer.clusters)

    @functools.cached_property
    def segment(self) -> int:
        """Steps from one evaluation to the next."""
        return self.experiment.evaluation_interval(self.run.tunes)

    def train(self) -> bool:
        """Train to the end, from the last checkpoint if there is one.

        Returns:
            Whether the run reached its end; False if it was interrupted. It is then checkpointed.
        """
        keras.backend.clear_session()  # a scope does not survive it
        with self.devices.scope():
            return self._train()

    def _train(self) -> bool:
        run, steps = self.run, self.experiment.steps
        keras.utils.set_random_seed(run.seed)
        with dtype_policy(self.experiment.precision):
            network = self.clustered.build_model()
        model = self._compiled(network)
        folder = CheckpointFolder(self.workdir.checkpoints(run.name), model)
        step, state = folder.restore()
        self.workdir.records.truncate_after(step if step else -1, run=run.name)
        self.display.start_run(run.name, step, steps)
        workers = self.devices.workers
        evaluation = Evaluation(run, self.clustered, self.workdir, self.segment, workers)
        if not step and not run.tunes:
            evaluation.record(0, model)
        while step < steps and not evaluation.diverged:
            state = self._fit(model, state, evaluation, folder)
            step = steps_taken(model)
            unfinished = step < steps and not evaluation.diverged
            if unfinished and self._is_interrupted():
                folder.save(step, state)
                evaluation.close()
                return False
        if not run.tunes:
            folder.write_final_weights(network)
        self._finish(evaluation)
        return True

    def _is_interrupted(self) -> bool:
        """Return whether any of the workers is asked to stop; all of them then are."""
        requested = self.devices.workers.any(self.interruption.requested)
        self.interruption.requested = requested
        return requested

    @property
    def _steps_per_execution(self) -> int:
        """Steps of one call in `fit`: JAX does not wait between two, `train_steps` has its own."""
        if self.devices.are_tensorflow_replicas or self.devices.backend == "jax":
            return 1
        return _divisor(self.segment, self.experiment.steps_per_execution)

    def _compiled(self, network: keras.Model) -> keras.Model:
        experiment, candidate = self.experiment, self.run.candidate
        rate = experiment.learning_rate_schedule(candidate.learning_rate)
        shares = self.clustered.probabilities
        optimizer = optimizer_of(
            self.run.optimizer, rate, shares, candidate.arguments, experiment.weight_decay
        )
        model = ClusterModel.from_model(network)
        model.compile(
            optimizer,
            loss=self.clustered.loss,
            steps_per_execution=self._steps_per_execution,
            jit_compile=experiment.jit_compile or self.devices.backend == "jax",
        )
        optimizer.build(model.trainable_variables)
        return model

    def _fit(
        self,
        model: keras.Model,
        state: State | None,
        evaluation: Evaluation,
        folder: CheckpointFolder,
    ) -> State:
        """Train to the end; from the middle of a segment only to its end. Returns the new state."""
        run, experiment, problem = self.run, self.experiment, self.clustered
        first_step = steps_taken(model)
        found = (state or {}).get("assignments")
        if found is not None:
            problem = problem.with_clusters(np.array(found))
        owned_by = self.devices.replicas if owns_clusters(model.optimizer) else None
        batches = drawn_batches(problem, experiment, run, state, owned_by)
        instruments = variance_callbacks(run, experiment, problem)
        recluster = None
        if run.optimizer.clusters == "gradients":
            recluster = recluster_callback(run, experiment, problem, batches, instruments, found)
            instruments = [*instruments, recluster]

        def state_now() -> State:
            now: State = batches.sampling.state(batches_taken=steps_taken(model) - first_step)
            if recluster is not None:
                now["assignments"] = np.asarray(recluster.assignments).tolist()
            return now

        callbacks = [
            *instruments,
            evaluation,
            Checkpointing(folder, experiment.checkpoint_every, experiment.steps, state_now),
            StopOnRequest(self.display, self.interruption),
        ]
        missing = -first_step % self.segment
        segments = 1 if missing else (experiment.steps - first_step) // self.segment
        shown = shown_batches(problem, run, batches)
        self._take_steps(model, shown, segments, missing or self.segment, callbacks)
        return state_now()

    def _take_steps(
        self,
        model: keras.Model,
        batches: Any,
        segments: int,
        steps: int,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        """Take so many segments of so many steps, or fewer if a callback ends it."""
        if not self.devices.are_tensorflow_replicas:
            model.fit(
                batches,
                epochs=segments,
                steps_per_epoch=steps,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,
            )
            return
        from tf_gradvar.training import train_steps

        epochs = train_steps(
            model,
            batches,
            segments * steps,
            steps_per_call=_divisor(steps, self.experiment.steps_per_execution),
            steps_per_epoch=steps,
            callbacks=callbacks,
        )
        for _ in epochs:
            pass

    def _finish(self, evaluation: Evaluation) -> None:
        run = self.run
        evaluation.close()
        end = {
            **self.devices.facts,
            "data": self.problem.fingerprint,
            "learning_rate": run.candidate.learning_rate,
            "arguments": dict(run.candidate.arguments),
            "score": evaluation.score,
            "diverged": evaluation.diverged,
        }
        self.workdir.records.append({"kind": "finished", **run.identity, **end})
        discard(self.workdir.checkpoints(run.name), keep_weights=not run.tunes)
        name = self.clustered.score.replace("_", " ")
        self.display.finish_run(run.name, f"{name} {evaluation.score:.4g}")


def _divisor(number: int, largest: int) -> int:
    """Return the largest divisor of `number` that is at most `largest`."""
    return max(d for d in range(1, min(number, largest) + 1) if number % d == 0)
