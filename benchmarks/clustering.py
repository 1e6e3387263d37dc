"""Gradient Clustering on an MLP: how much variance it removes, for how long, and at what cost.

    python -m benchmarks.clustering [table] [cost] [staleness] [sweep] [duplicates]
                                    [--folder benchmarks/results]

The MLP 784-1024-1024-10 of `benchmarks.estimators` on 4 864 of the 5 000 digits (38 batches of
128), K = B = 128. What is reported of a clustering is the variance of a stratified mini-batch over
that of a plain one, measured exactly by `gradient_variance`, not the clustering's own prediction.

table       by representation and rule, after 150 and 2 500 steps
cost        wall time of a whole clustering against one plain forward and backward epoch, MLP and
            ResNet8
staleness   how the ratio grows over 2 000 further steps; which interval is best at what cost
sweep       sketches of 16 to 2 048 numbers, 8 to 512 clusters
duplicates  five points that fill 10, 50 and 90 % of the data

Every part writes gradient_clustering_<part>.json, staleness and sweep a picture, too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from benchmarks.estimators import BATCH_SIZE, LOSS, load_digits, make_model
from benchmarks.models import resnet8
from benchmarks.timing import interleaved_medians, write_json
from tf_gradvar import GradientClustering, MiniBatch, Stratified, gradient_variance
from tf_gradvar.clustering.gradient_clustering import ASSIGNMENTS, REPRESENTATIONS
from tf_gradvar.plots import PALETTE

COUNT = 38 * BATCH_SIZE
K = BATCH_SIZE
KINDS = [(kind, rule) for kind in REPRESENTATIONS for rule in ASSIGNMENTS]
SKETCH_SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
CLUSTER_COUNTS = (8, 16, 32, 64, 128, 256, 512)
AGES = (0, 50, 100, 200, 350, 500, 750, 1000, 1500, 2000)
INTERVALS = (50, 100, 200, 500, 1000, 2000)


class Trajectory:
    """The digits, the MLP, and plain SGD steps."""

    def __init__(self) -> None:
        x, y = load_digits()
        self.x, self.y = x[:COUNT], y[:COUNT]
        self.model = make_model()
        data = tf.data.Dataset.from_tensor_slices((self.x, self.y)).shuffle(COUNT, seed=0)
        self._batches = iter(data.repeat().batch(BATCH_SIZE))
        self.step = 0

    def train_to(self, step: int) -> None:
        """Take steps."""
        while self.step < step:
            self.model.train_on_batch(*next(self._batches))
            self.step += 1

    def cluster(self, *arguments: Any, **options: Any) -> tuple[Any, float]:
        """A second fit of a clustering (the first one compiles) and its seconds."""
        clustering = GradientClustering(*arguments, verbose=False, **options)
        clustering.fit(self.model, self.x, self.y, LOSS)
        start = time.perf_counter()
        return clustering.fit(self.model, self.x, self.y, LOSS), time.perf_counter() - start

    def share(self, assignments: np.ndarray, x: Any = None, y: Any = None) -> float:
        """V[one draw from every cluster] / V[as many independent draws]."""
        size = int(assignments.max()) + 1
        found = gradient_variance(
            self.model,
            self.x if x is None else x,
            self.y if y is None else y,
            LOSS,
            [MiniBatch(size, name="SG"), Stratified(assignments, name="GC")],
            normalized=False,
        )
        return found["GC"].variance / found["SG"].variance


def table(folder: Path) -> dict[str, Any]:
    """The ratio by representation and rule."""
    run, rows = Trajectory(), []
    for step in (150, 2500):
        run.train_to(step)
        for representation, rule in KINDS:
            result, seconds = run.cluster(K, representation, rule)
            rows.append(
                {
                    "step": step,
                    "representation": representation,
                    "rule": rule,
                    "passes": len(result.objective),
                    "ratio": run.share(result.assignments),
                    "predicted": result.variance_ratio,
                    "largest cluster": int(result.sizes.max()),
                    "seconds": seconds,
                }
            )
            print(rows[-1], flush=True)
        rows.append({"step": step, "representation": "labels", "ratio": run.share(run.y)})
        print(rows[-1], flush=True)
    return {"rows": rows}


def cost(folder: Path) -> dict[str, Any]:
    """Seconds of whole clusterings over those of one plain forward and backward epoch."""
    run = Trajectory()
    run.train_to(150)
    images = np.random.default_rng(0).normal(size=(COUNT, 32, 32, 3)).astype("float32")
    found = {}
    for name, model, x in (("MLP", run.model, run.x), ("ResNet8", resnet8(), images)):
        clustering = GradientClustering(K, verbose=False)
        variants: dict[str, Callable[[], Any]] = {
            "epoch": _plain_epoch(model, x, run.y),
            "sketches": lambda m=model, x=x, c=clustering: _sketch(c, m, x, run.y),
            "clustering": lambda m=model, x=x, c=clustering: c.fit(m, x, run.y, LOSS),
        }
        medians = interleaved_medians(variants, repeats=5, warmup=1)
        found[name] = {
            "seconds": medians,
            "sketches / epoch": medians["sketches"] / medians["epoch"],
            "clustering / epoch": medians["clustering"] / medians["epoch"],
        }
        print(name, found[name], flush=True)
    return found


def _plain_epoch(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    batches = [
        (tf.constant(x[start : start + BATCH_SIZE]), tf.constant(y[start : start + BATCH_SIZE]))
        for start in range(0, COUNT, BATCH_SIZE)
    ]

    @tf.function
    def gradient(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=False))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    def epoch() -> None:
        for batch in batches:
            last = gradient(*batch)
        last[-1].numpy()

    return epoch


def _sketch(
    clustering: GradientClustering, model: keras.Model, x: np.ndarray, y: np.ndarray
) -> None:
    """What a clustering spends on the pass over the data: `predict` makes the same pass."""
    if clustering.result is None:
        clustering.fit(model, x, y, LOSS)
    clustering.predict(model, x, y, LOSS)


def staleness(folder: Path) -> dict[str, Any]:
    """The ratio of clusters that stay while the weights move on."""
    run, curves = Trajectory(), []
    for start in (150, 2500):
        run.train_to(start)
        result, _ = run.cluster(K)
        shares = []
        for age in AGES:
            run.train_to(start + age)
            shares.append(run.share(result.assignments))
            print(start, age, round(shares[-1], 4), flush=True)
        fresh, seconds = run.cluster(K)
        curves.append(
            {
                "start": start,
                "ages": AGES,
                "ratios": shares,
                "fresh at the end": run.share(fresh.assignments),
                "seconds": seconds,
            }
        )
    begin = time.perf_counter()
    run.train_to(run.step + 100)
    step_seconds = (time.perf_counter() - begin) / 100
    for curve in curves:
        curve["intervals"] = list(_intervals(curve, step_seconds))
        print(*curve["intervals"], sep="\n", flush=True)
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    ax = figure.subplots()
    for curve, color in zip(curves, PALETTE, strict=False):
        label = f"clusters of step {curve['start']}"
        ax.plot(AGES, curve["ratios"], "o-", color=color, markersize=4, label=label)
        ax.plot(
            AGES[-1], curve["fresh at the end"], "D", color=color, fillstyle="none",
            label=f"fresh clusters at step {curve['start'] + AGES[-1]}",
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("steps since the clustering")
    ax.set_ylabel("V[GC] / V[SG-B] (no unit)")
    ax.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "gradient_clustering_staleness.png", dpi=110)
    return {"curves": curves, "seconds of a training step": step_seconds}


def _intervals(curve: dict[str, Any], step_seconds: float) -> Iterator[dict[str, float]]:
    """Mean ratio between two clusterings U steps apart, and what it costs."""
    steps = np.arange(AGES[-1] + 1)
    ratios = np.interp(steps, AGES, curve["ratios"])
    for interval in INTERVALS:
        mean = float(ratios[:interval].mean())
        overhead = curve["seconds"] / (interval * step_seconds)
        yield {
            "U": interval,
            "mean ratio": mean,
            "overhead": overhead,
            "ratio times cost": mean * (1 + overhead),
        }


def sweep(folder: Path) -> dict[str, Any]:
    """The ratio against seconds for sizes of the sketch and numbers of clusters."""
    run = Trajectory()
    run.train_to(2500)
    found: dict[str, list[dict[str, float]]] = {"sketch size": [], "clusters": []}
    for size in SKETCH_SIZES:
        result, seconds = run.cluster(K, sketch_size=size)
        found["sketch size"].append(_point(run, size, result, seconds))
    for num_clusters in CLUSTER_COUNTS:
        result, seconds = run.cluster(num_clusters)
        found["clusters"].append(_point(run, num_clusters, result, seconds))
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    for ax, (name, points) in zip(figure.subplots(1, 2), found.items(), strict=True):
        seconds, shares = ([p[key] for p in points] for key in ("seconds", "ratio"))
        ax.plot(seconds, shares, "o-", color=PALETTE[0], markersize=4)
        for point in points:
            ax.annotate(
                f"{point['value']:.0f}", (point["seconds"], point["ratio"]), fontsize=8,
                xytext=(4, 4), textcoords="offset points",
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("seconds of the clustering")
        ax.set_title(f"{name} (numbers at the points)", fontsize=9)
    figure.axes[0].set_ylabel("V[GC] / V[SG-B] (no unit)")
    figure.savefig(folder / "gradient_clustering_sweep.png", dpi=110)
    return found


def _point(run: Trajectory, value: int, result: Any, seconds: float) -> dict[str, float]:
    point = {
        "value": value,
        "ratio": run.share(result.assignments),
        "predicted": result.variance_ratio,
        "seconds": seconds,
    }
    print(point, flush=True)
    return point


def duplicates(folder: Path) -> dict[str, Any]:
    """Whether clusters isolate five points that fill much of the data."""
    run, rows = Trajectory(), []
    run.train_to(150)
    rng = np.random.default_rng(0)
    points = rng.choice(COUNT, 5, replace=False)
    for percent in (10, 50, 90):
        count = COUNT * percent // 100
        numbers = rng.permutation(COUNT)
        numbers[:count] = points[np.arange(count) % 5]
        x, y = run.x[numbers], run.y[numbers]
        clustering = GradientClustering(K, verbose=False)
        result = clustering.fit(run.model, x, y, LOSS)
        repeated = np.isin(numbers, points)
        homes = np.unique(result.assignments[repeated])
        strangers = np.isin(result.assignments, homes) & ~repeated
        rows.append(
            {
                "percent": percent,
                "GC / SG-B": run.share(result.assignments, x, y),
                "SG-2B / SG-B": 0.5,
                "clusters with duplicates": len(homes),
                "other examples in them": int(strangers.sum()),
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    part.__name__: part for part in (table, cost, staleness, sweep, duplicates)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and write their numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parsed = parser.parse_args(arguments)
    unknown = sorted(set(parsed.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts {unknown}; choose from {list(PARTS)}")
    parsed.folder.mkdir(parents=True, exist_ok=True)
    for name in parsed.parts or PARTS:
        print(f"\n{name}", flush=True)
        result = PARTS[name](parsed.folder)
        write_json(parsed.folder / f"gradient_clustering_{name}.json", result)


if __name__ == "__main__":
    main()
