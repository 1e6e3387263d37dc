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
predicts), `summary.csv` and `training.png`. The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from benchmarks.estimators import LOSS, load_digits
from tf_gradvar import GradientClustering, stratified_batches
from tf_gradvar.clustering import ClusteringResult
from tf_gradvar.plots import PALETTE
from tf_gradvar.records import RecordFile

NUM_CLUSTERS = 32
MOMENTUM = 0.9
LEARNING_RATES = (0.01, 0.03, 0.06)
COLORS = (*PALETTE, "#999999", "#882255")
SEEDS = (0, 1, 2)
STEPS, EVERY, RECLUSTER = 1000, 50, 250
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


def curves(records: list[dict[str, Any]], arm: str, rate: float) -> np.ndarray:
    """Losses [seeds, points]; what follows a loss that is not finite is infinite."""
    points = STEPS // EVERY + 1
    seeds = sorted({record["seed"] for record in records})
    found = np.full((len(seeds), points), np.inf)
    for record in records:
        if record["arm"] == arm and record["learning_rate"] == rate:
            place = seeds.index(record["seed"]), record["step"] // EVERY
            found[place] = record["loss"] if np.isfinite(record["loss"]) else np.inf
    return found


def summarise(records: list[dict[str, Any]], rates: Iterable[float]) -> list[dict[str, Any]]:
    """One row for each arm and learning rate."""
    rows = []
    for rate in rates:
        for arm in ARMS:
            losses = curves(records, arm, rate)
            mine = [r for r in records if r["arm"] == arm and r["learning_rate"] == rate]
            weights = [r["largest_weight"] for r in mine if "largest_weight" in r]
            ratios = [r["variance_ratio"] for r in mine if "variance_ratio" in r]
            settled = losses[:, 200 // EVERY :]
            rows.append(
                {
                    "learning_rate": rate,
                    "arm": arm,
                    "final_loss": float(np.median(losses[:, -1])),
                    "lowest_final_loss": float(losses[:, -1].min()),
                    "highest_final_loss": float(losses[:, -1].max()),
                    "highest_loss_after_step_200": float(settled.max()),
                    "largest_weight": max(weights, default=1.0),
                    "variance_ratio": float(np.median(ratios)) if ratios else None,
                }
            )
    return rows


def plot(records: list[dict[str, Any]], rates: tuple[float, ...], path: Path) -> None:
    """Loss against steps: a panel for each learning rate, thin lines seeds, thick the median."""
    figure = Figure(figsize=(5.0 * len(rates), 4.6), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    steps = np.arange(0, STEPS + 1, EVERY)
    for ax, rate in zip(panels, rates, strict=True):
        for (arm, settings), color in zip(ARMS.items(), COLORS, strict=True):
            losses = np.where(np.isfinite(found := curves(records, arm, rate)), found, np.nan)
            style = "--" if settings.batch_size is not None else "-"
            ax.plot(steps, losses.T, style, color=color, linewidth=0.6, alpha=0.4)
            middle = np.median(found, axis=0)
            ax.plot(steps, np.where(np.isfinite(middle), middle, np.nan), style, color=color,
                    linewidth=1.8, label=arm)  # fmt: skip
        ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.set_title(f"learning rate {rate:g}")
    panels[0].set_ylabel("training loss (nats per example)")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def print_table(rows: list[dict[str, Any]]) -> None:
    """The summary as text."""
    columns = {
        "final loss": "final_loss",
        "lowest": "lowest_final_loss",
        "highest": "highest_final_loss",
        "worst after 200": "highest_loss_after_step_200",
        "largest weight": "largest_weight",
    }
    print(f"\n{'rate':>5} {'arm':<22}" + "".join(f"{title:>16}" for title in columns))
    for row in rows:
        values = "".join(f"{row[name]:>16.4g}" for name in columns.values())
        print(f"{row['learning_rate']:>5g} {row['arm']:<22}{values}")


def main() -> None:
    """Run what is missing, then write the summary and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, help="folder for records, table and figure")
    parser.add_argument("--quick", action="store_true", help="one seed, one learning rate")
    arguments = parser.parse_args()
    rates, seeds = (LEARNING_RATES[:1], SEEDS[:1]) if arguments.quick else (LEARNING_RATES, SEEDS)
    workdir = Path(arguments.workdir)
    file = RecordFile(workdir / "records.jsonl")
    run_all(file, load_digits(), rates, seeds)
    records = file.read()
    rows = summarise(records, rates)
    with open(workdir / "summary.csv", "w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    plot(records, rates, workdir / "training.png")
    print_table(rows)


if __name__ == "__main__":
    main()
