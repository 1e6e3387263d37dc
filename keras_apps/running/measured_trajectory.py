"""Train along one SGD trajectory, and measure gradient estimators on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_apps.experiments.training_problem import Problem
from keras_apps.experiments.trajectory import Trajectory
from keras_apps.running.checkpointing import CheckpointFolder, discard
from keras_apps.running.progress import Display
from keras_apps.running.stopping import Interruption, StopOnRequest
from keras_apps.running.workdir import Workdir
from tf_gradvar.callbacks import GradientVarianceLogger
from tf_gradvar.callbacks.steps import steps_taken
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.estimators import SVRG, Estimator, MiniBatch, Stratified

# What folders and the progress bar call it.
NAME = "gradient_variance"


class Compared(NamedTuple):
    """An estimator, and what brings it to the present weights at the beginning of a stage."""

    estimator: Estimator
    refresh: Callable[[keras.Model], None] | None = None


def estimators_of(trajectory: Trajectory, problem: Problem) -> list[Compared]:
    """Return the estimators to compare; the first one is what the others are compared with.

    SG-B, SG-2B, SVRG-B, strata-B, which draws from each cluster of the problem its share of B
    examples, and GC-B, which draws one from each of B clusters of gradients.

    Raises:
        ValueError: A batch that is larger than the data, or too small for a cluster's share.

    Example:
        >>> from keras_apps.experiments.classification import Classification
        >>> compared = estimators_of(Trajectory(batch_size=64), Classification("digits").build())
        >>> [estimator.name for estimator, _ in compared]
        ['SG-64', 'SG-128', 'SVRG-64', 'strata-64', 'GC-64']
    """
    size, examples = trajectory.batch_size, len(problem.x)
    if size > examples:
        raise ValueError(
            f"`batch_size` must be at most the number of training examples, {examples}. "
            f"Received: batch_size={size}."
        )
    # Rounding the sums keeps the sum: each cluster's number is within 1 of its share.
    bounds = np.rint(size * np.cumsum(problem.probabilities)).astype(int)
    shares = np.diff(bounds, prepend=0)
    svrg = SVRG(size)
    # Any clusters at first: the first stage begins with a clustering.
    gc = Stratified(np.arange(examples) % size, name=f"GC-{size}")
    clustering = GradientClustering(size, seed=trajectory.seed, verbose=False)

    def recluster(model: keras.Model) -> None:
        gc.reassign(clustering.fit(model, problem.x, problem.y, problem.loss).assignments)

    return [
        Compared(MiniBatch(size)),
        Compared(MiniBatch(2 * size)),
        Compared(svrg, svrg.take_snapshot),
        Compared(Stratified(problem.clusters, samples_per_cluster=shares, name=f"strata-{size}")),
        Compared(gc, recluster),
    ]


def is_finished(trajectory: Trajectory, workdir: Workdir) -> bool:
    """Return whether the records of a workdir reach the trajectory's end."""
    return any(record["step"] == trajectory.steps for record in workdir.variances.read())


def measure(
    trajectory: Trajectory,
    problem: Problem,
    workdir: Workdir,
    display: Display,
    interruption: Interruption,
) -> bool:
    """Train to the end, from the last stage that was begun, and record what is measured.

    Returns:
        Whether it reached its end; False if it was interrupted.
    """
    model = _compiled(trajectory, problem)
    checkpoint = CheckpointFolder(workdir.checkpoints(NAME), model)
    step, _ = checkpoint.restore()
    workdir.variances.truncate_after(step)
    display.start_run(NAME, step, trajectory.steps)
    compared = estimators_of(trajectory, problem)
    logger = GradientVarianceLogger(
        problem.x,
        problem.y,
        [estimator for estimator, _ in compared],
        every_steps=trajectory.measure_every,
        seed=trajectory.seed,
        path=workdir.variances.path,
    )
    while (step := steps_taken(model)) < trajectory.steps:
        for _, refresh in compared:
            if refresh is not None:
                refresh(model)
        if step:
            checkpoint.save(step, {})
        batches = _batches(trajectory, problem, step)
        stopping = StopOnRequest(display, interruption)
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[logger, stopping])
        if interruption.requested and steps_taken(model) < trajectory.steps:
            return False
    discard(workdir.checkpoints(NAME), keep_weights=False)
    name, values = next(iter(logger.history[-1]["estimators"].items()))
    display.finish_run(NAME, f"variance of {name} {values['average_variance']:.3g}")
    return True


def _compiled(trajectory: Trajectory, problem: Problem) -> keras.Model:
    keras.backend.clear_session()
    keras.utils.set_random_seed(trajectory.seed)
    model = problem.build_model()
    optimizer = keras.optimizers.SGD(trajectory.learning_rate, trajectory.momentum)
    model.compile(optimizer, loss=problem.loss)
    optimizer.build(model.trainable_variables)
    return model


def _batches(trajectory: Trajectory, problem: Problem, first_step: int) -> Any:
    """Return the batches of one stage, a `tf.data.Dataset`; they depend on the step alone."""
    import tensorflow as tf

    size, examples = trajectory.batch_size, len(problem.x)
    steps_per_epoch = examples // size
    orders: dict[int, np.ndarray] = {}
    rows = []
    for step in range(first_step, first_step + trajectory.refresh_every):
        epoch, place = divmod(step, steps_per_epoch)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([trajectory.seed, epoch]).permutation(examples)
        rows.append(orders[epoch][place * size : (place + 1) * size])
    x, y = tf.constant(problem.x), tf.constant(problem.y)
    return tf.data.Dataset.from_tensor_slices(np.array(rows)).map(
        lambda chosen: (tf.gather(x, chosen), tf.gather(y, chosen))
    )
