"""Corrections of rank one for mixed batches: measured, of no use, and not in the package.

    python -m benchmarks.single_example_corrections [--folder benchmarks/results]

A plain mini-batch of B examples can be corrected by any clusters of its examples: with moving
averages c_k of a layer's inputs a_i and d_k of its output gradients d_i,

    v = gbar + gain (1/B) sum_i (a_i d_i^T - c_{k_i} d_{k_i}^T),   gbar = sum_k q_k c_k d_k^T

MLP 784-256-10, 4 000 real digits, shuffled batches, cosine schedule, 1 200 steps. Clusters: the
labels; 128 k-means clusters of sketched gradients, made again every 250 steps (100 for B = 128) in
a pass over the data that also restarts the buffers; every example by itself. `scale` "auto" is
beta = Cov / Var, learned by layer. Neither passes nor clustering are counted as steps.

Variance of the corrected over the plain gradient, B = 16, SGD at rate .4, gain 1, scale 1, at steps
150 / 650 / 1150; "full" has the exact mean gradients of the clusters in place of the buffers:

| clusters  | buffers            | best scale         | full               |
|-----------|--------------------|--------------------|--------------------|
| labels    | .93 / 1.00 / 1.01  | .92 / .99 / .99    | .80 / .97 / .98    |
| gradients | 1.11 / .69 / .18   | .93 / .58 / .18    | .79 / .30 / .16    |
| examples  | 1.18 / 3.16 / .65  | .97 / .96 / .44    | 0                  |

Rank one is not what limits: fresh means c_k, d_k are within .02 of "full" (gradients .80 / .31 /
.17). Outdated buffers are, and labels have little between them in a mixed batch to begin with.

Final training loss, mean (lowest, highest) of three seeds; best of four rates for every arm (inside
of the grid but for "examples, scale 1" with QHM, at its lower edge, and labels with gain .1):

| B = 16                    | SGD                  | QHM, momentum .99, nu .9 |
|---------------------------|----------------------|--------------------------|
| plain (momentum .9: .0203)| .0339 (.0334, .0349) | .0136 (.0113, .0161)     |
| labels, scale auto        | .0319 (.0313, .0326) | .0129 (.0121, .0134)     |
| gradients, scale auto     | .0302 (.0292, .0317) | .0105 (.0078, .0124)     |
| examples, scale auto      | .0293 (.0263, .0313) | .0126 (.0118, .0134)     |
| labels, scale 1           | .0309 (.0301, .0317) | .0142 (.0131, .0157)     |
| gradients, scale 1        | .0322 (.0305, .0338) | .0143 (.0140, .0147)     |
| examples, scale 1         | .0500 (.0486, .0508) | .127 (.112, .152)        |
| plain, B = 24             |                      | .0022 (.0020, .0025)     |
| plain, B = 32             |                      | .0009 (.0006, .0011)     |

With gain .1 the step goes along gbar, whose terms have rank one: labels .507, gradients .271,
examples .107 (SGD, scale 1, rates .0125 to .8 by factors of 4).
With B = 128, QHM, one seed: 2.6e-5 plain, 2.5e-5 labels, 2.1e-5 gradients, 2.7e-5 examples (scale
auto), although the variance is .97, .31 and .03 of the plain one halfway (scale 1, SGD at rate .8).
Test accuracy with QHM: plain 93.9 %, corrected with scale auto 93.2 to 93.4 %, B = 24 94.2 %.

With the learned scale corrections beat SGD; none beats the simple rivals. The best saves 23 % of
QHM's loss, with spreads that overlap, and costs another pass over the data every 250 steps, as many
examples as the steps themselves; eight more examples in a batch save 84 %. Forming v takes 2.3 to
3.1 times the plain gradient's time with B = 16, and 1.5 (labels), 2.4 (gradients), 3.4 (examples)
with B = 128 (forward and backward pass included).

All of it takes about nine minutes of processor time, on one core.
"""

from __future__ import annotations

import argparse
import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.digits_mlp import TRAIN, Digits, backward, loss_and_accuracy, start_weights
from benchmarks.rank_one_corrections import ALPHA, Correction, gradient_clusters, variance_left
from benchmarks.timing import interleaved_medians, ratios

STEPS, SEEDS, CHECKS = 1200, (0, 1, 2), (150, 350, 650, 950, 1150)
MOMENTUM = {"SGD": (0.0, 0.0), "momentum": (0.9, 1.0), "QHM": (0.99, 0.9)}  # beta, nu
RATES = {"SGD": (0.1, 0.2, 0.4, 0.8), "momentum": (0.4, 0.8, 1.6, 3.2), "QHM": (0.4, 0.8, 1.6, 3.2)}
RATES_OF_SMALL_GAIN = (0.0125, 0.05, 0.2, 0.8)
RATES_OF_LARGE_BATCHES = {
    24: (0.8, 1.6, 3.2, 6.4),
    32: (0.8, 1.6, 3.2, 6.4),
    128: (1.6, 3.2, 6.4, 12.8),
}


@dataclass(frozen=True)
class Arm:
    """A way to train: the base optimizer, and the clusters of the correction if there is one."""

    base: str
    clusters: str = ""
    scale: str = "1"
    gain: float = 1.0
    batch_size: int = 16

    @property
    def rates(self) -> Sequence[float]:
        """Learning rates to choose from, four for every arm."""
        if self.batch_size > 16:
            return RATES_OF_LARGE_BATCHES[self.batch_size]
        return RATES[self.base] if self.gain == 1 else RATES_OF_SMALL_GAIN

    def correction(self, digits: Digits) -> Correction | None:
        """Return the correction with empty buffers, or None for a plain arm."""
        if not self.clusters:
            return None
        return Correction(self.clusters, digits.y, self.gain, learned=self.scale == "auto")


def train(arm: Arm, rate: float, seed: int, digits: Digits, measure: bool = False) -> Any:
    """Return the final training loss and test accuracy; or the rows of variance on the way."""
    weights, rng = start_weights(seed), np.random.default_rng(seed + 1000)
    momenta = [np.zeros_like(w) for w in weights]
    correction = arm.correction(digits)
    beta, nu = map(np.float32, MOMENTUM[arm.base])
    order, rows = np.zeros(0, "int64"), []
    for step in range(STEPS):
        renew = arm.clusters == "gradients" and step % max(TRAIN // arm.batch_size, 100) == 0
        if correction and (step == 0 or renew or (measure and step in CHECKS)):
            layers = backward(weights, digits.x, digits.one_hot)
            if measure and step in CHECKS:
                rows.append({"step": step, **variance_left(layers, correction)})
            else:
                clusters = gradient_clusters(layers, rng) if renew else correction.clusters
                correction.restart(clusters, layers)
        if len(order) < arm.batch_size:
            order = rng.permutation(TRAIN)
        batch, order = order[: arm.batch_size], order[arm.batch_size :]
        layers = backward(weights, digits.x[batch], digits.one_hot[batch])
        if correction:
            gradients = correction(layers, batch)
        else:
            gradients = [a.T @ (d / np.float32(len(batch))) for a, d in layers]
        eta = np.float32(rate * (1 + np.cos(np.pi * step / STEPS)) / 2)
        for weight, momentum, gradient in zip(weights, momenta, gradients, strict=True):
            # QHM: m <- beta m + (1 - beta) v,   w <- w - eta ((1 - nu) v + nu m)
            momentum += (1 - beta) * (gradient - momentum)
            weight -= eta * ((1 - nu) * gradient + nu * momentum)
    if measure:
        return rows
    loss, _ = loss_and_accuracy(weights, digits.x, digits.y)
    return loss, loss_and_accuracy(weights, digits.test_x, digits.test_y)[1]


def best_of_rates(arm: Arm, digits: Digits, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Return the row of an arm at the rate with the lowest mean of the final training loss."""
    runs = {rate: [train(arm, rate, seed, digits) for seed in seeds] for rate in arm.rates}
    rate = min(runs, key=lambda rate: np.mean([loss for loss, _ in runs[rate]]))
    losses, accuracies = zip(*runs[rate], strict=True)
    return {
        **vars(arm),
        "rate": rate,
        "inside": min(runs) < rate < max(runs),
        "loss": np.mean(losses),
        "lowest": min(losses),
        "highest": max(losses),
        "test_accuracy": np.mean(accuracies),
    }


def step_times(digits: Digits, batch_size: int) -> dict[str, float]:
    """Return seconds of a gradient, plain and corrected; the clusters themselves are not timed."""
    weights, batch = start_weights(0), np.random.default_rng(0).permutation(TRAIN)[:batch_size]
    variants = {"plain": lambda layers: [a.T @ d for a, d in layers]}
    for clusters in ALPHA:
        correction = Correction(clusters, digits.y)
        layers = backward(weights, digits.x, digits.one_hot)
        if clusters == "gradients":
            correction.restart(gradient_clusters(layers, np.random.default_rng(0)), layers)
        variants[clusters] = lambda layers, correction=correction: correction(layers, batch)

    def step(gradient: Any) -> Any:
        return gradient(backward(weights, digits.x[batch], digits.one_hot[batch]))

    calls = {name: functools.partial(step, gradient) for name, gradient in variants.items()}
    return interleaved_medians(calls, 100, clock=process_time)


def show(title: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Print rows and write them as `single_example_corrections_<title>.csv`."""
    path = folder / f"single_example_corrections_{title}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            short = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(short)
            print(title, *short.values(), sep="  ", flush=True)


def main() -> None:
    """Measure variances and times, train every arm, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    folder, digits = parser.parse_args().folder, Digits()
    folder.mkdir(parents=True, exist_ok=True)
    time_rows = []
    for size in (16, 128):
        medians = step_times(digits, size)
        time_rows.append({"batch_size": size, **ratios(medians, "plain")})
    show("step_time", time_rows, folder)
    measured = [Arm("SGD", clusters, scale) for clusters in ALPHA for scale in ("1", "auto")]
    measured += [replace(arm, batch_size=128) for arm in measured]
    show(
        "variance",
        [
            {"batch_size": arm.batch_size, "clusters": arm.clusters, "scale": arm.scale, **row}
            for arm in measured
            for row in train(arm, 0.4 if arm.batch_size == 16 else 0.8, 0, digits, measure=True)
        ],
        folder,
    )
    arms = [Arm(base, batch_size=16) for base in MOMENTUM]
    arms += [Arm("QHM", batch_size=size) for size in (24, 32)]
    for clusters in ALPHA:
        arms += [Arm(base, clusters, scale) for base in ("SGD", "QHM") for scale in ("1", "auto")]
        arms += [Arm("SGD", clusters, gain=0.1)]
    rows = [best_of_rates(arm, digits) for arm in arms]
    large = [Arm("QHM", clusters, "auto", batch_size=128) for clusters in ("", *ALPHA)]
    show("training", rows + [best_of_rates(arm, digits, SEEDS[:1]) for arm in large], folder)


if __name__ == "__main__":
    main()
