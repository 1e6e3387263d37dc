"""One training run: from the last checkpoint to the end, measured on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_apps import optimizers
from keras_apps.checkpointing import RunCheckpoint, discard
from keras_apps.experiment import Experiment, GradientClusters, Run
from keras_apps.problems import Problem
from keras_apps.progress import Display, Interruption
from keras_apps.segments import Recorder, Segments, identity
from keras_apps.workdir import Workdir
from tf_gradvar.callbacks import BetweenClusterVariance, Recluster
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.data import cluster_batches
from tf_gradvar.training import ClusterModel


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
        problem = self._problem.clustered(run.optimizer.clusters)
        network = problem.build_model()
        model = self._compiled_model(run, problem, network)
        checkpoint = RunCheckpoint(self._workdir.checkpoints(run.name), model)
        step, sampling = checkpoint.restore()
        self._workdir.records.truncate_after(step if step else -1, run=run.name)
        self._display.start_run(run.name, step, self._experiment.steps)
        recorder = Recorder(run, self._experiment, self._problem, self._workdir)
        if not step:
            recorder.record(0, model)
        while step < self._experiment.steps and not recorder.diverged:
            segments = self._segments(run, problem, step, sampling, recorder, checkpoint)
            self._fit(model, segments, step)
            step += segments.taken
            sampling = segments.state()
            unfinished = step < self._experiment.steps and not recorder.diverged
            if self._interruption.requested and unfinished:
                checkpoint.save(step, sampling)
                recorder.close()
                return False
        if not run.tunes:
            checkpoint.write_final_weights(network)
        self._finish(run, recorder)
        return True

    def _compiled_model(self, run: Run, problem: Problem, network: keras.Model) -> keras.Model:
        experiment = self._experiment
        model = ClusterModel.from_model(network)
        optimizer = optimizers.build(run, experiment, problem.probabilities)
        model.compile(
            optimizer,
            loss=problem.loss,
            steps_per_execution=_divisor(experiment.evaluate_every, experiment.steps_per_execution),
            jit_compile=experiment.jit_compile,
        )
        optimizer.build(model.trainable_variables)
        return model

    def _segments(
        self,
        run: Run,
        problem: Problem,
        step: int,
        sampling: dict[str, Any] | None,
        recorder: Recorder,
        checkpoint: RunCheckpoint,
    ) -> Segments:
        """The batches from `step` on, and all that is done between them."""
        follows = run.optimizer.clusters == "gradients"
        found = (sampling or {}).get("assignments")
        if found is not None:
            found = np.array(found)
            problem = dataclasses.replace(problem, partitions={"found": found}).clustered("found")
        batches = self._batches(run, problem, sampling, read_ahead=not follows)
        variance = self._variance(run, problem)
        recluster = self._recluster(run, problem, batches, variance, found) if follows else None
        return Segments(
            step,
            batches,
            [*variance, *([recluster] if recluster else [])],
            recorder,
            checkpoint,
            self._experiment,
            self._display,
            self._interruption,
        )

    def _batches(
        self, run: Run, problem: Problem, sampling: dict[str, Any] | None, *, read_ahead: bool
    ) -> Any:
        return cluster_batches(
            (problem.x, problem.y),
            problem.clusters,
            num_clusters=len(problem.probabilities),
            group_size=self._experiment.group_size,
            groups_per_batch=run.groups,
            cluster_probabilities=problem.probabilities.tolist(),
            seed=run.seed,
            order=self._experiment.order,
            state=sampling,
            read_ahead=read_ahead,
        )

    def _fit(self, model: keras.Model, segments: Segments, step: int) -> None:
        """Train to the end, or after an interruption in mid-segment to the segment's end."""
        experiment = self._experiment
        length = experiment.evaluate_every
        missing = -step % length
        model.fit(
            segments.batches,
            epochs=1 if missing else (experiment.steps - step) // length,
            steps_per_epoch=missing or length,
            callbacks=[*segments.before, segments],
            verbose=0,
            shuffle=False,
        )

    def _variance(self, run: Run, problem: Problem) -> list[keras.callbacks.Callback]:
        if run.tunes or not run.optimizer.measures_variance:
            return []
        return [
            BetweenClusterVariance(
                problem.x,
                problem.y,
                problem.clusters,
                len(problem.probabilities),
                problem.probabilities,
                every_steps=self._experiment.evaluate_every,
                examples_per_cluster=self._experiment.variance_examples,
            )
        ]

    def _recluster(
        self,
        run: Run,
        problem: Problem,
        batches: Any,
        listeners: list[keras.callbacks.Callback],
        found: np.ndarray | None,
    ) -> Recluster:
        settings = self._experiment.gradient_clusters or GradientClusters()
        clustering = GradientClustering(
            len(problem.probabilities),
            seed=run.seed,
            sketch_size=settings.sketch_size,
            max_passes=settings.max_passes,
            max_size_ratio=settings.max_size_ratio,
            verbose=False,
        )
        return Recluster(
            clustering,
            problem.x,
            problem.y,
            every=settings.every,
            dataset=batches,
            estimators=listeners,
            buffers=settings.buffers,
            initial_assignments=found,
        )

    def _finish(self, run: Run, recorder: Recorder) -> None:
        recorder.close()
        self._workdir.records.append(
            {
                "kind": "finished",
                **identity(run),
                "learning_rate": run.learning_rate,
                "score": recorder.score,
                "diverged": recorder.diverged,
            }
        )
        discard(self._workdir.checkpoints(run.name), keep_weights=not run.tunes)
        name = self._problem.score.replace("_", " ")
        self._display.finish_run(run.name, f"{name} {recorder.score:.4g}")


def _divisor(number: int, largest: int) -> int:
    """The largest divisor of `number` that is at most `largest`."""
    return max(d for d in range(1, min(number, largest) + 1) if number % d == 0)
