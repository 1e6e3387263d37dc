"""One training run: from the last checkpoint to the end, measured on the way."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_apps.experiments.comparison import Experiment, Run
from keras_apps.experiments.problem import Problem
from keras_apps.running.checkpointing import CheckpointFolder, Checkpointing, discard
from keras_apps.running.evaluation import Evaluation
from keras_apps.running.instruments import recluster_callback, variance_callbacks
from keras_apps.running.progress import Display
from keras_apps.running.stopping import Interruption, StopOnRequest
from keras_apps.running.workdir import Workdir
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.data import cluster_batches
from tf_gradvar.training import ClusterModel

State = dict[str, Any]


class RunTrainer:
    """Trains the runs of an experiment, one after the other.

    Args:
        experiment: The experiment.
        problem: Its problem, loaded.
        workdir: Where records and checkpoints go.
        display: Shows the progress.
        interruption: Tells when to stop.
    """

    def __init__(
        self,
        experiment: Experiment,
        problem: Problem,
        workdir: Workdir,
        display: Display,
        interruption: Interruption,
    ):
        self._experiment = experiment
        self._problem = problem
        self._workdir = workdir
        self._display = display
        self._interruption = interruption

    def train(self, run: Run) -> bool:
        """Train a run to its end, from its last checkpoint if there is one.

        Args:
            run: The run.

        Returns:
            Whether it reached its end; False if it was interrupted. It is then checkpointed.
        """
        keras.backend.clear_session()
        keras.utils.set_random_seed(run.seed)
        steps = self._experiment.steps
        problem = self._problem.clustered(run.optimizer.clusters)
        network = problem.build_model()
        model = self._compiled_model(run, problem, network)
        folder = CheckpointFolder(self._workdir.checkpoints(run.name), model)
        step, state = folder.restore()
        self._workdir.records.truncate_after(step if step else -1, run=run.name)
        self._display.start_run(run.name, step, steps)
        evaluation = Evaluation(run, self._problem, self._workdir, self._experiment.evaluate_every)
        if not step:
            evaluation.record(0, model)
        while step < steps and not evaluation.diverged:
            state = self._fit(run, problem, model, step, state, evaluation, folder)
            step = steps_taken(model)
            unfinished = step < steps and not evaluation.diverged
            if self._interruption.requested and unfinished:
                folder.save(step, state)
                evaluation.close()
                return False
        if not run.tunes:
            folder.write_final_weights(network)
        self._finish(run, evaluation)
        return True

    def _compiled_model(self, run: Run, problem: Problem, network: keras.Model) -> keras.Model:
        experiment = self._experiment
        rate = experiment.learning_rate_schedule(run.learning_rate)
        optimizer = run.optimizer.build(rate, problem.probabilities)
        model = ClusterModel.from_model(network)
        model.compile(
            optimizer,
            loss=problem.loss,
            steps_per_execution=_divisor(experiment.evaluate_every, experiment.steps_per_execution),
            jit_compile=experiment.jit_compile,
        )
        optimizer.build(model.trainable_variables)
        return model

    def _fit(
        self,
        run: Run,
        problem: Problem,
        model: keras.Model,
        step: int,
        state: State | None,
        evaluation: Evaluation,
        folder: CheckpointFolder,
    ) -> State:
        """Train to the end; from the middle of a segment only to its end. Returns the new state."""
        experiment = self._experiment
        follows = run.optimizer.clusters == "gradients"
        found = None
        if state is not None and "assignments" in state:
            found = np.array(state["assignments"])
            problem = problem.with_clusters(found)
        batches = self._batches(run, problem, state, read_ahead=not follows)
        instruments = variance_callbacks(run, experiment, problem)
        recluster = None
        if follows:
            recluster = recluster_callback(run, experiment, problem, batches, instruments, found)
            instruments = [*instruments, recluster]

        def state_now() -> State:
            now: State = batches.sampling.state(batches_taken=steps_taken(model) - step)
            if recluster is not None:
                now["assignments"] = np.asarray(recluster.assignments).tolist()
            return now

        missing = -step % experiment.evaluate_every
        model.fit(
            batches,
            epochs=1 if missing else (experiment.steps - step) // experiment.evaluate_every,
            steps_per_epoch=missing or experiment.evaluate_every,
            callbacks=[
                *instruments,
                evaluation,
                Checkpointing(folder, experiment.checkpoint_every, experiment.steps, state_now),
                StopOnRequest(self._display, self._interruption),
            ],
            verbose=0,
            shuffle=False,
        )
        return state_now()

    def _batches(self, run: Run, problem: Problem, state: State | None, *, read_ahead: bool) -> Any:
        return cluster_batches(
            (problem.x, problem.y),
            problem.clusters,
            num_clusters=len(problem.probabilities),
            group_size=self._experiment.group_size,
            groups_per_batch=run.groups,
            cluster_probabilities=problem.probabilities.tolist(),
            seed=run.seed,
            order=self._experiment.order,
            state=state,
            read_ahead=read_ahead,
        )

    def _finish(self, run: Run, evaluation: Evaluation) -> None:
        evaluation.close()
        end = {
            "learning_rate": run.learning_rate,
            "score": evaluation.score,
            "diverged": evaluation.diverged,
        }
        self._workdir.records.append({"kind": "finished", **run.identity, **end})
        discard(self._workdir.checkpoints(run.name), keep_weights=not run.tunes)
        name = self._problem.score.replace("_", " ")
        self._display.finish_run(run.name, f"{name} {evaluation.score:.4g}")


def _divisor(number: int, largest: int) -> int:
    """Return the largest divisor of `number` that is at most `largest`."""
    return max(d for d in range(1, min(number, largest) + 1) if number % d == 0)
