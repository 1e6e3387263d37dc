"""Training on stratified batches of gradient clusters, against plain and double batches.

    python -m benchmarks.stratified_training --workdir runs/stratified [--quick]

The MLP 784-256-256-10 is trained on 5 000 real digits (normalised by .1307/.3081) with SGD and
momentum .9 for 1 000 steps at three learning rates, three seeds each. K = B = 32; the clusters are
made of the weights at step 0 and again every 250 steps. Arms:

-   plain batches of B and of 2B, shuffled;
-   one example from each gradient cluster (`max_weight=None`), and the same with weights bounded by
    4, 2, 1.5 and 1.25;
-   proportional allocation over the clusters (all weights 1);
-   one from each of clusters that may hold at most 2 N / K examples, which bounds the weights by 2.

Writes `records.jsonl` (the training loss over all the data every 50 steps, and what each clustering
predicts), `summary.csv` and `training.png`; then measures, at two places of a plain run, what each
bound leaves of the lower variance (`variance.csv`). The same command again goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import stratified_report as report
from benchmarks.estimators import LOSS, load_digits
from tf_gradvar import (
    GradientClustering,
    MiniBatch,
    Stratified,
    gradient_variance,
    stratified_batches,
)
from tf_gradvar.clustering import ClusteringResult
from tf_gradvar.estimators import Estimator, EstimatorVariance
from tf_gradvar.records import RecordFile

NUM_CLUSTERS = 32
MOMENTUM = 0.9
LEARNING_RATES = (0.01, 0.03, 0.06)
SEEDS = (0, 1, 2)
STEPS, EVERY, RECLUSTER = 1000, 50, 250
BOUNDS = (None, 4.0, 2.0, 1.5, 1.25, 1.1, 1.0)
PLAIN = "plain"
KEY = ("arm", "learning_rate", "seed")


@dataclass(frozen=True)
class Arm:
    """One way to make the batches.

    Attributes:
        batch_size: Of plain batches; None for stratified ones.
        sampling: Arguments of `stratified_batches`.
        max_size_ratio: Argument of `GradientClustering`.
    """

    batch_size: int | None = None
    sampling: dict[str, Any] | None = None
    max_size_ratio: float | None = None


ARMS = {
    "plain B": Arm(NUM_CLUSTERS),
    "plain 2B": Arm(2 * NUM_CLUSTERS),
    "GC, one each": Arm(sampling={"max_weight": None}),
    "GC, max_weight 4": Arm(sampling={"max_weight": 4.0}),
    "GC, max_weight 2": Arm(sampling={"max_weight": 2.0}),
    "GC, max_weight 1.5": Arm(sampling={"max_weight": 1.5}),
    "GC, max_weight 1.25": Arm(sampling={"max_weight": 1.25}),
    "GC, proportional": Arm(sampling={"batch_size": NUM_CLUSTERS}),
    "GC, sizes capped at 2": Arm(sampling={"max_weight": None}, max_size_ratio=2.0),
}


def make_model(seed: int) -> keras.Model:
    """The MLP, compiled."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(256, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])
    optimizer = keras.optimizers.SGD(LEARNING_RATES[0], MOMENTUM)
    model.compile(optimizer, LOSS, jit_compile=False, steps_per_execution=EVERY // 2)
    return model


class Trainer:
    """Trains one model again and again, so that everything is compiled once.

    Args:
        data: (x, y).
    """

    def __init__(self, data: tuple):
        self._data = data
        self._model = make_model(0)
        self._mean_loss = tf.function(lambda: LOSS(data[1], self._model(data[0])))
        self._clusterings = {
            ratio: GradientClustering(NUM_CLUSTERS, max_size_ratio=ratio, verbose=False)
            for ratio in {arm.max_size_ratio for arm in ARMS.values()}
        }

    def run(self, arm: str, learning_rate: float, seed: int) -> list[dict[str, Any]]:
        """One run; returns its records. Stops at a loss that is not finite."""
        key = {"arm": arm, "learning_rate": learning_rate, "seed": seed}
        settings = ARMS[arm]
        self._reset(learning_rate, seed)
        batches, found = self._batches(settings, seed)
        recording = Recording(self.loss, lambda: self._recluster(settings, batches))
        self._model.fit(
            batches,
            epochs=STEPS // EVERY,
            steps_per_epoch=EVERY,
            callbacks=[recording],
            verbose=0,
            shuffle=False,
        )
        recording.rows[0].update(found)
        return [{**key, **row} for row in recording.rows]

    def loss(self) -> float:
        """The training loss over all the data."""
        return float(self._mean_loss())

    def variances(self) -> Iterator[tuple[int, dict[str, EstimatorVariance]]]:
        """Exact variances after 150 and 500 steps, with clusters of these very weights."""
        self._reset(LEARNING_RATES[1], 0)
        batches, _ = self._batches(ARMS["plain B"], 0)
        for step, steps in ((150, 150), (500, 350)):
            self._model.fit(batches, steps_per_epoch=steps, verbose=0, shuffle=False)
            found = self._clusterings[None].fit(self._model, *self._data, LOSS)
            estimators: list[Estimator] = [MiniBatch(NUM_CLUSTERS, name=PLAIN)]
            for bound in BOUNDS:
                batches_of = stratified_batches(self._data, found, max_weight=bound, seed=0)
                estimators.append(Stratified(batches_of, name=str(bound)))
            model, data = self._model, self._data
            yield step, gradient_variance(model, *data, LOSS, estimators, normalized=False)

    def _reset(self, learning_rate: float, seed: int) -> None:
        self._model.set_weights(make_model(seed).get_weights())
        optimizer = self._model.optimizer
        for variable in optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        optimizer.learning_rate = learning_rate

    def _batches(self, settings: Arm, seed: int) -> tuple[tf.data.Dataset, dict[str, Any]]:
        """The dataset, and what its clusters promise."""
        if settings.batch_size is not None:
            examples = tf.data.Dataset.from_tensor_slices(self._data)
            shuffled = examples.shuffle(len(self._data[1]), seed=seed).repeat()
            return shuffled.batch(settings.batch_size, drop_remainder=True), {}
        found = self._clusterings[settings.max_size_ratio].fit(self._model, *self._data, LOSS)
        batches = stratified_batches(self._data, found, seed=seed, **settings.sampling)
        return batches, self._described(found, batches)

    def _recluster(self, settings: Arm, batches: tf.data.Dataset) -> dict[str, Any]:
        """Clusters of the present weights, from the next batch on."""
        if settings.batch_size is not None:
            return {}
        clustering = self._clusterings[settings.max_size_ratio]
        start = clustering.result.assignments
        found = clustering.fit(self._model, *self._data, LOSS, initial_assignments=start)
        batches.reassign(found)
        return self._described(found, batches)

    def _described(self, found: ClusteringResult, batches: tf.data.Dataset) -> dict[str, Any]:
        return {
            "variance_ratio": float(found.variance_ratio),
            "largest_share": float(found.sizes.max() / len(self._data[1])),
            "largest_weight": float(batches.sampling.design.weights.max()),
        }


class Recording(keras.callbacks.Callback):
    """Records the loss over all the data at the end of every epoch, and clusters when due."""

    def __init__(self, loss: Callable[[], float], recluster: Callable[[], dict[str, Any]]):
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self._loss, self._recluster = loss, recluster

    def on_train_begin(self, logs: Any = None) -> None:
        """The untrained model."""
        self.rows.append({"step": 0, "loss": self._loss()})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The model after another `EVERY` steps."""
        step = (epoch + 1) * EVERY
        self.rows.append({"step": step, "loss": self._loss()})
        if not np.isfinite(self.rows[-1]["loss"]):
            self.model.stop_training = True
        elif step % RECLUSTER == 0 and step < STEPS:
            self.rows[-1].update(self._recluster())


def variance_by_bound(data: tuple) -> list[dict[str, Any]]:
    """V over that of plain batches for each bound of the weights, on a trajectory of plain SGD."""
    trainer, rows = Trainer(data), []
    for step, results in trainer.variances():
        plain = results.pop(PLAIN).variance
        for name, result in results.items():
            parts = result.parts or {"within": result.average_variance, "between": 0.0}
            share = {key: value * result.num_parameters / plain for key, value in parts.items()}
            rows.append(
                {"step": step, "max_weight": name, "ratio": result.variance / plain, **share}
            )
    return rows


def run_all(file: RecordFile, data: tuple, rates: Sequence[float], seeds: Sequence[int]) -> None:
    """Every run that the file does not have yet, with a line each."""
    done = {tuple(record[name] for name in KEY) for record in file.read()}
    wanted = [(arm, rate, seed) for seed in seeds for rate in reversed(rates) for arm in ARMS]
    trainer = Trainer(data)
    for number, key in enumerate(wanted, 1):
        if key in done:
            continue
        start = time.perf_counter()
        rows = trainer.run(*key)
        for row in rows:
            file.append(row)
        seconds = time.perf_counter() - start
        print(
            f"[{number}/{len(wanted)}] {key[0]:<22} learning rate {key[1]:<5g} seed {key[2]}: "
            f"loss {rows[-1]['loss']:.4g} at step {rows[-1]['step']}, {seconds:.1f} s",
            flush=True,
        )


def main() -> None:
    """Run what is missing, then write the summary and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder for records, table and figure")
    parser.add_argument("--quick", action="store_true", help="one seed, one learning rate")
    arguments = parser.parse_args()
    rates, seeds = (LEARNING_RATES[:1], SEEDS[:1]) if arguments.quick else (LEARNING_RATES, SEEDS)
    workdir = Path(arguments.workdir)
    file = RecordFile(workdir / "records.jsonl")
    data = load_digits()
    run_all(file, data, rates, seeds)
    records = file.read()
    rows = report.summarise(records, tuple(ARMS), rates)
    report.write_csv(workdir / "summary.csv", rows)
    report.plot(records, tuple(ARMS), rates, workdir / "training.png")
    report.print_table(rows)
    ratios = variance_by_bound(data)
    report.write_csv(workdir / "variance.csv", ratios)
    report.print_variances(ratios)


if __name__ == "__main__":
    main()
