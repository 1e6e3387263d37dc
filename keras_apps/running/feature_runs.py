"""Random features models: train the output layer, and measure gradient estimators on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_apps.experiments.feature_grid import (
    DRAWN,
    GC,
    GC_PAPER,
    SG,
    SG_2B,
    SVRG_NAME,
    FeatureGrid,
    FeatureRun,
)
from keras_apps.experiments.training_problem import Problem
from tf_gradvar.clustering import GradientClustering
from tf_gradvar.estimators import SVRG, MiniBatch, Stratified, VarianceMeter

CHUNK = 2048  # examples in one pass: an example of these models is small

STATISTICS = ("average_variance", "normalized_variance")


class Trainer:
    """The output layer of all students of a grid, its compiled training and clusterings.

    Args:
        grid: What is run.

    Attributes:
        model: The output layer.
        clusterings: Estimator's name -> what clusters the gradients for it.
    """

    def __init__(self, grid: FeatureGrid):
        self.model = grid.build_model()
        size, passes = grid.batch_size, grid.paper_passes
        self.clusterings = {
            GC: GradientClustering(size, verbose=False),
            GC_PAPER: GradientClustering(size, "rank1", "paper", max_passes=passes, verbose=False),
        }
        self._optimizer = keras.optimizers.SGD(0.1)
        self._optimizer.build(self.model.trainable_variables)
        self._loss = keras.losses.BinaryCrossentropy(from_logits=True)
        self._stretch = self._compiled()

    def start(self, learning_rate: float, seed: int) -> None:
        """Draw the initial weights, and take a learning rate."""
        (kernel,) = self.model.trainable_variables
        kernel.assign(keras.initializers.GlorotUniform(seed)(kernel.shape))
        self._optimizer.learning_rate = learning_rate

    def train(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take one step for each of the batches [S, B, ...]."""
        self._stretch(x, y)

    def _compiled(self) -> Any:
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def stretch(x: Any, y: Any) -> None:
            for step in tf.range(tf.shape(x)[0]):
                with tf.GradientTape() as tape:
                    loss = self._loss(y[step], self.model(x[step], training=True))
                    loss += sum(self.model.losses)
                variables = self.model.trainable_variables
                values = [variable.value for variable in variables]
                self._optimizer.apply(tape.gradient(loss, values), variables)

        return stretch


class Instruments:
    """The estimators that are compared on one training set.

    Args:
        grid: What is run.
        problem: The training set.
        model: The output layer.
    """

    def __init__(self, grid: FeatureGrid, problem: Problem, model: keras.Model):
        size, examples = grid.batch_size, len(problem.x)
        self._problem, self._model = problem, model
        self._svrg = SVRG(size, name=SVRG_NAME)
        any_clusters = np.arange(examples) % size
        self._clustered = {
            GC: Stratified(any_clusters, name=GC),
            GC_PAPER: Stratified(any_clusters, name=GC_PAPER),
        }
        estimators = [
            MiniBatch(size, name=SG),
            MiniBatch(2 * size, name=SG_2B),
            self._svrg,
            *self._clustered.values(),
        ]
        arguments = (model, problem.x, problem.y, problem.loss, estimators)
        self._exact = VarianceMeter(*arguments, chunk_size=CHUNK)
        drawn = [e for e in estimators if e.name in DRAWN]
        self._drawn = VarianceMeter(
            *arguments[:-1], drawn, method="paper_2020", num_draws=grid.num_draws, chunk_size=CHUNK
        )

    def refresh(self, clusterings: dict[str, GradientClustering]) -> None:
        """Take a snapshot, and cluster the gradients."""
        problem = self._problem
        self._svrg.take_snapshot(self._model)
        for name, clustering in clusterings.items():
            result = clustering.fit(self._model, problem.x, problem.y, problem.loss)
            self._clustered[name].reassign(result.assignments)

    def exact(self) -> dict[str, dict[str, float]]:
        """Return the exact statistics of each estimator."""
        return _values(self._exact, 0)

    def drawn(self, step: int) -> dict[str, dict[str, float]]:
        """Return those of the published figures, for the estimators in `DRAWN`."""
        return _values(self._drawn, step)


def measured(grid: FeatureGrid, runs: Sequence[FeatureRun]) -> list[dict[str, Any]]:
    """Return a record for each of some runs on one training set."""
    problem = runs[0].problem.build()
    trainer = _trainer(grid)
    instruments = Instruments(grid, problem, trainer.model)
    return [_record(grid, run, problem, trainer, instruments) for run in runs]


def _record(
    grid: FeatureGrid,
    run: FeatureRun,
    problem: Problem,
    trainer: Trainer,
    instruments: Instruments,
) -> dict[str, Any]:
    started, seed = time.perf_counter(), run.problem.seed
    trainer.start(run.learning_rate, seed)
    steps, losses, fresh, exact, drawn = [], [], [], [], []
    for step in range(0, grid.steps, grid.measure_every):
        if step % grid.refresh_every == 0:
            instruments.refresh(trainer.clusterings)
            fresh.append(instruments.exact())
        rows = batch_rows(seed, step, grid.measure_every, len(problem.x), grid.batch_size)
        trainer.train(problem.x[rows], problem.y[rows])
        steps.append(step + grid.measure_every)
        losses.append(problem.evaluate(trainer.model)["training_loss"])
        exact.append(instruments.exact())
        if steps[-1] % grid.draw_every == 0:
            drawn.append(instruments.drawn(steps[-1]))
    return {
        "kind": "finished",
        "run": run.name,
        "ratio": run.ratio,
        "examples": len(problem.x),
        "input_size": run.problem.input_size,
        "teacher_features": run.problem.teacher_features,
        "duplicates": run.problem.duplicates,
        "seed": seed,
        "learning_rate": run.learning_rate,
        "positives": float(problem.y.mean()),
        "steps": steps,
        "drawn_steps": [step for step in steps if step % grid.draw_every == 0],
        "training_loss": losses,
        "estimators": _joined(exact),
        "drawn": _joined(drawn),
        "fresh": _joined(fresh),
        "seconds": time.perf_counter() - started,
    }


def batch_rows(seed: int, first: int, steps: int, examples: int, size: int) -> np.ndarray:
    """Return which examples the batches of some steps hold, [steps, size].

    The data are shuffled anew for each epoch, whose last batch is dropped where it is not full.

    Args:
        seed: Of the orders.
        first: Steps taken before.
        steps: How many batches.
        examples: N.
        size: B.
    """
    per_epoch = examples // size
    epochs = range(first // per_epoch, (first + steps - 1) // per_epoch + 1)
    orders = [np.random.default_rng([seed, epoch]).permutation(examples) for epoch in epochs]
    rows = np.concatenate([order[: per_epoch * size].reshape(-1, size) for order in orders])
    begin = first - epochs[0] * per_epoch
    return rows[begin : begin + steps]


# In each process, the last grid's: a new one would compile everything again.
_TRAINERS: list[tuple[FeatureGrid, Trainer]] = []


def _trainer(grid: FeatureGrid) -> Trainer:
    if not _TRAINERS or _TRAINERS[0][0] != grid:
        _TRAINERS[:] = [(grid, Trainer(grid))]
    return _TRAINERS[0][1]


def _values(meter: VarianceMeter, step: int) -> dict[str, dict[str, float]]:
    results = meter.measure(step).results
    return {
        name: {statistic: getattr(result, statistic) for statistic in STATISTICS}
        for name, result in results.items()
    }


def _joined(measurements: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return estimator -> statistic -> one value for each measurement."""
    return {
        name: {statistic: [one[name][statistic] for one in measurements] for statistic in values}
        for name, values in measurements[0].items()
    }
