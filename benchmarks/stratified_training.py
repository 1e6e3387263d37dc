"""Training on stratified batches of gradient clusters, against plain and double batches.

    python -m benchmarks.stratified_training --workdir runs/stratified [--quick]

The MLP 784-256-256-10 is trained on 5 000 real digits (normalised by .1307/.3081) with SGD and
momentum .9 for 1 000 steps at three learning rates, three seeds each. K = B = 32; the clusters are
made of the weights at step 0 and again every 250 steps. Arms:

-   plain batches of B and of 2B, shuffled;
-   one example from each gradient cluster (`max_weight=None`), and the same with weights bounded by
    4 and by 2;
-   proportional allocation over the clusters (all weights 1);
-   one from each of clusters that may hold at most 2 N / K examples, which bounds the weights by 2.

Writes `records.jsonl` (the training loss over all the data every 50 steps, and what each clustering
predicts), `summary.csv` and `training.png`. The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from benchmarks.estimators import LOSS, load_digits
from tf_gradvar import GradientClustering, stratified_batches
from tf_gradvar.plots import PALETTE
from tf_gradvar.records import RecordFile

NUM_CLUSTERS = 32
MOMENTUM = 0.9
LEARNING_RATES = (0.01, 0.03, 0.06)
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
    "GC, proportional": Arm(sampling={"batch_size": NUM_CLUSTERS}),
    "GC, sizes capped at 2": Arm(sampling={"max_weight": None}, max_size_ratio=2.0),
}


def make_model(seed: int, learning_rate: float) -> keras.Model:
    """The MLP, compiled."""
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(256, "relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])
    model.compile(keras.optimizers.SGD(learning_rate, MOMENTUM), LOSS, jit_compile=False)
    return model


class Recording(keras.callbacks.Callback):
    """Records the loss over all the data at the end of every epoch, and clusters when due."""

    def __init__(self, run: Run, steps: int):
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self._run, self._steps = run, steps

    def on_train_begin(self, logs: Any = None) -> None:
        """The untrained model."""
        self._record(0, self._run.described())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The model after another `EVERY` steps."""
        step = (epoch + 1) * EVERY
        loss = self._record(step, {})
        if not np.isfinite(loss):
            self.model.stop_training = True
        elif step % RECLUSTER == 0 and step < self._steps and self._run.clustering:
            self._run.recluster()
            self.rows[-1].update(self._run.described())

    def _record(self, step: int, found: dict[str, Any]) -> float:
        loss = self._run.loss()
        self.rows.append({**self._run.key, "step": step, "loss": loss, **found})
        return loss


class Run:
    """One arm at one learning rate from one seed."""

    def __init__(self, arm: str, learning_rate: float, seed: int, data: tuple):
        self.key = {"arm": arm, "learning_rate": learning_rate, "seed": seed}
        self._data = data
        self._model = make_model(seed, learning_rate)
        self.clustering: GradientClustering | None = None
        settings = ARMS[arm]
        if settings.batch_size is not None:
            examples = tf.data.Dataset.from_tensor_slices(data)
            shuffled = examples.shuffle(len(data[1]), seed=seed).repeat()
            self._batches = shuffled.batch(settings.batch_size, drop_remainder=True)
        else:
            self.clustering = GradientClustering(
                NUM_CLUSTERS, seed=seed, max_size_ratio=settings.max_size_ratio, verbose=False
            )
            found = self.clustering.fit(self._model, *data, LOSS)
            self._batches = stratified_batches(data, found, seed=seed, **settings.sampling)

    def train(self, steps: int) -> list[dict[str, Any]]:
        """Train; returns the records. Stops at a loss that is not finite."""
        recording = Recording(self, steps)
        self._model.fit(
            self._batches,
            epochs=steps // EVERY,
            steps_per_epoch=EVERY,
            callbacks=[recording],
            verbose=0,
            shuffle=False,
        )
        return recording.rows

    def loss(self) -> float:
        """The training loss over all the data."""
        return float(self._model.evaluate(*self._data, batch_size=1000, verbose=0))

    def recluster(self) -> None:
        """Clusters of the present weights, from the next batch on."""
        started_from = self.clustering.result.assignments
        found = self.clustering.fit(
            self._model, *self._data, LOSS, initial_assignments=started_from
        )
        self._batches.reassign(found)

    def described(self) -> dict[str, Any]:
        """What the present clusters promise, and their largest weight; nothing without any."""
        if self.clustering is None:
            return {}
        return {
            "variance_ratio": float(self.clustering.result.variance_ratio),
            "largest_share": float(self.clustering.result.sizes.max() / len(self._data[1])),
            "largest_weight": float(self._batches.sampling.design.weights.max()),
        }


def run_all(file: RecordFile, data: tuple, rates: Iterable[float], seeds: Iterable[int]) -> None:
    """Every run that the file does not have yet, with a line each."""
    done = {tuple(record[name] for name in KEY) for record in file.read()}
    wanted = [(arm, rate, seed) for seed in seeds for rate in rates for arm in ARMS]
    for number, key in enumerate(wanted, 1):
        if key in done:
            continue
        start = time.perf_counter()
        rows = Run(*key, data).train(STEPS)
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
        for (arm, settings), color in zip(ARMS.items(), PALETTE, strict=True):
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
