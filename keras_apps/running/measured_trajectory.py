"""Train along SGD trajectories, and measure gradient estimators on the way."""

from __future__ import annotations

import functools
from typing import Any

import keras

from keras_apps.experiments.l2_penalty import add_l2_penalty
from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.checkpointing import CheckpointFolder, discard
from keras_apps.running.cluster_members import write_members
from keras_apps.running.discover_groups import DiscoverGroups
from keras_apps.running.progress import Display
from keras_apps.running.stopping import Interruption, StopOnRequest
from keras_apps.running.trajectory_batches import MeasuredExamples, training_batches
from keras_apps.running.trajectory_estimators import ComparedEstimators
from keras_apps.running.trajectory_measurements import Clock, Measurements
from keras_apps.running.workdir import Workdir
from tf_gradvar.callbacks.steps import steps_taken

# What folders and the progress bar call it.
NAME = "gradient_variance"

Record = dict[str, Any]


def records_of(trajectory: Trajectory, workdir: Workdir, seed: int) -> list[Record]:
    """Return the records of one of the trajectories in a workdir, in the order of the steps."""
    # Before there were several, records did not say of which one they are.
    return [r for r in workdir.variances.read() if r.get("seed", trajectory.seed) == seed]


def seeds_left(trajectory: Trajectory, workdir: Workdir) -> list[int]:
    """Return the seeds whose records do not reach the end."""
    ended = {
        seed
        for seed in trajectory.seeds
        for record in records_of(trajectory, workdir, seed)
        if record["step"] == trajectory.steps
    }
    return [seed for seed in trajectory.seeds if seed not in ended]


def is_finished(trajectory: Trajectory, workdir: Workdir) -> bool:
    """Return whether the records of a workdir reach the end of every trajectory."""
    return not seeds_left(trajectory, workdir)


def measure(
    trajectory: Trajectory,
    problem: Problem,
    workdir: Workdir,
    display: Display,
    interruption: Interruption,
) -> bool:
    """Train to the end, from where each trajectory got to, and record what is measured.

    Returns:
        Whether all reached their end; False if one was interrupted.
    """
    return all(
        SeededTrajectory(trajectory, problem, seed, workdir).measure(display, interruption)
        for seed in seeds_left(trajectory, workdir)
    )


class SeededTrajectory:
    """One trajectory of a seed, to be trained and measured.

    Args:
        trajectory: How it is trained and measured.
        problem: The data and the model.
        seed: Of the weights, the order of the data, the clustering and the subsets.
        workdir: Holds its records and checkpoints.
    """

    def __init__(
        self, trajectory: Trajectory, problem: Problem, seed: int, workdir: Workdir
    ) -> None:
        self._trajectory, self._problem, self._seed = trajectory, problem, seed
        self._workdir = workdir
        self._name = NAME if trajectory.repeats == 1 else f"{NAME}-{seed}"

    def measure(self, display: Display, interruption: Interruption) -> bool:
        """Train to the end; False if it was interrupted, after a checkpoint."""
        trajectory = self._trajectory
        self._model = _compiled(trajectory, self._problem, self._seed)
        self._compared = ComparedEstimators(trajectory, self._problem, self._seed)
        self._examples = MeasuredExamples(self._problem, self._seed)
        moving = self._moving_buffers()
        step = self._restore()
        display.start_run(self._name, step, trajectory.steps)
        instrument = Measurements(
            trajectory,
            self._problem,
            self._examples,
            self._compared.estimators,
            self._seed,
            self._workdir.variances,
            self._clock,
            done=self._save,
        )
        callbacks = [*moving, instrument, StopOnRequest(display, interruption)]
        if not self._train(step, callbacks, interruption):
            return False
        discard(self._workdir.checkpoints(self._name), keep_weights=False)
        display.finish_run(self._name, _summary(instrument.last))
        return True

    def _moving_buffers(self) -> list[keras.callbacks.Callback]:
        """Return what moves the buffers of Discover, if these are compared."""
        optimizer = self._compared.discover
        if optimizer is None:
            return []
        optimizer.build(self._model.trainable_variables)
        shared = self._model, optimizer, self._trajectory, self._problem, self._seed
        return [DiscoverGroups(*shared)]

    def _train(
        self, step: int, callbacks: list[keras.callbacks.Callback], interruption: Interruption
    ) -> bool:
        """Take the steps that are left, from one refresh to the next; False if interrupted."""
        trajectory = self._trajectory
        while step < trajectory.steps:
            if step in trajectory.refreshes:
                self._refresh(step)
            end = trajectory.next_refresh(step)
            batches = training_batches(trajectory, self._problem, self._seed, step, end)
            self._model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=callbacks)
            step = steps_taken(self._model)
            if interruption.requested and step < trajectory.steps:
                self._save(step)
                return False
        return True

    @functools.cached_property
    def _folder(self) -> CheckpointFolder:
        return CheckpointFolder(self._workdir.checkpoints(self._name), self._model)

    def _restore(self) -> int:
        """Take up the last checkpoint, forget the records after it, and return its step."""
        step, _ = self._folder.restore()
        state = self._folder.arrays(step)
        if state is not None:
            self._compared.restore(state)
        where = {} if self._trajectory.repeats == 1 else {"seed": self._seed}
        self._workdir.variances.truncate_after(step, **where)
        before = records_of(self._trajectory, self._workdir, self._seed)
        spent = before[-1] if before else {}
        self._clock = Clock(spent.get("training_seconds", 0.0), spent.get("measuring_seconds", 0.0))
        return step

    def _refresh(self, step: int) -> None:
        # Deterministic: after a stop right before or after it, it is done once more.
        with self._clock:
            self._examples.renew(step)
            x, y = self._examples.x, self._examples.y
            self._compared.refresh(self._model, x, y)
            assignments = self._compared.assignments
            is_last = step == self._trajectory.refreshes[-1] and self._seed == self._trajectory.seed
            if is_last and assignments is not None and x.ndim == 4:
                write_members(self._workdir.members, self._model, self._problem, x, y, assignments)

    def _save(self, step: int) -> None:
        if step < self._trajectory.steps:
            self._folder.save(step, {}, self._compared.state())


def _compiled(trajectory: Trajectory, problem: Problem, seed: int) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = add_l2_penalty(problem.build_model(), trajectory.weight_decay, of_all=True)
    rate = trajectory.learning_rate_schedule()
    model.compile(keras.optimizers.SGD(rate, trajectory.momentum), loss=problem.loss)
    model.optimizer.build(model.trainable_variables)
    return model


def _summary(record: Record | None) -> str:
    """Return a line on the last measurement."""
    if record is None:
        return "measured before"
    name, values = next(iter(record["estimators"].items()))
    return f"variance of {name} {values['average_variance']:.3g}"
