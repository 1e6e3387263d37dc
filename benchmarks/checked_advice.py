"""Advice of `tf_gradvar.diagnose` put to the test: is the way that it ranks first the best one?

    python -m benchmarks.checked_advice [--sets digits wine ...] [--seeds 0 1 2]
        [--workdir runs/checked_advice] [--folder benchmarks/results]

A network is trained for ten epochs with plain batches of 32, then diagnosed. From these weights it
goes on with plain batches, with the first way of the report and with the two that follow, by the
lines of code of the report, for as many gradients of examples as six epochs of whole batches have
(a clustering counts as one pass). What counts is the mean loss of all training examples after it.

Report: how often the way with the larger predicted gain ended at the lower loss, and by how much.
Writes checked_advice.csv and checked_advice.png. The text is real: 1 800 docstrings of five
packages of Python's standard library.

Measured, six sets and three seeds: the way that was ranked first ended below plain batches in 12 of
18 runs, at 0.983 times their loss (standard error 0.011), below the second in 12 and the third in
13. What is called worth it, below plain batches in 7 of 12 runs (0.980, standard error 0.016). It
helps where noise is what holds training up: on Fashion-MNIST strata by class gave 0.93 times the
loss in 3 of 3, on the 178 wines nothing helped. Of all pairs of ways without larger batches, 37 of
72 ended in the order that was predicted: a ranking of variances is no ranking of losses.
Twice the batch for the same number of examples ended at 1.15 times the loss of plain batches.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

import tf_gradvar
from benchmarks.advice_sets import SETS, make_model
from benchmarks.by_set import measure
from tf_gradvar.diagnosis.code import imports
from tf_gradvar.plots import PALETTE

BATCH_SIZE, LEARNING_RATE = 32, 0.05
# Vectors of words move little: with 0.05 the network learns nothing in these epochs.
OTHER_RATES = {"docstrings": 1.0}
BEFORE, EPOCHS = 10, 6
FOLLOWED = 3
PLAIN = "plain batches"
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

Row = dict[str, Any]


def check(name: str, seed: int) -> list[Row]:
    """Return what plain batches and the three ways ended at."""
    keras.utils.set_random_seed(seed)
    x, y = SETS[name]()
    model = make_model(x, y)
    model.compile(keras.optimizers.SGD(OTHER_RATES.get(name, LEARNING_RATE)), LOSS)
    model.fit(x, y, batch_size=BATCH_SIZE, epochs=BEFORE, verbose=0)
    start = model.get_weights()
    report = tf_gradvar.diagnose(model, x, y, batch_size=BATCH_SIZE, seed=seed, verbose=False)
    before = mean_loss(model, x, y)
    plain = f"model.fit(x, y, batch_size={BATCH_SIZE})"
    ways = [(PLAIN, "plain", 1.0, 1.0, plain)]
    for option in [option for option in report.options if option.code][:FOLLOWED]:
        ways.append((option.name, option.kind, option.gain, option.ratio.value, option.code))
    rows = []
    for place, (way, kind, gain, ratio, code) in enumerate(ways):
        model.set_weights(start)
        keras.utils.set_random_seed(seed)
        epochs = EPOCHS - 1 if kind == "clusters" else EPOCHS
        after = follow(code, epochs, seed, {"model": model, "x": x, "y": y, "report": report})
        rows.append(
            {
                "set": name,
                "seed": seed,
                "place": place,
                "way": way,
                "kind": kind,
                "gain": gain,
                "variance_ratio": ratio,
                "advised": report.best is not None and report.best.name == way,
                "before": before,
                "after": after,
            }
        )
        print(rows[-1], flush=True)
    return rows


def follow(code: str, epochs: int, seed: int, names: dict[str, Any]) -> float:
    """Run lines of the report for some epochs, and return the mean loss after them."""
    lines = imports(code).replace("seed=0", f"seed={seed}")
    lines = re.sub(r"model\.fit\(", f"model.fit(epochs={epochs}, verbose=0, x=", lines)
    # Keras loses steps of arrays with `steps_per_epoch`, and a part of a batch is one step more.
    lines = re.sub(r"x=x, y, batch_size=(\d+)", r"x=examples.batch(\1, drop_remainder=True)", lines)
    examples = tf.data.Dataset.from_tensor_slices((names["x"], names["y"]))
    names["examples"] = examples.shuffle(len(names["x"]), seed=seed)
    exec(lines, names)
    return mean_loss(names["model"], names["x"], names["y"])


def mean_loss(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean loss of all examples."""
    outputs = keras.ops.convert_to_numpy(model.predict(x, batch_size=1000, verbose=0))
    return float(LOSS(y, outputs))


def checked(name: str, seed: int, workdir: Path) -> list[Row]:
    """Return the rows of a set and a seed, from the workdir where they are there."""
    path = workdir / f"{name}_{seed}.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(check(name, seed), default=float, indent=1))
        part.rename(path)
    rows: list[Row] = json.loads(path.read_text())
    return rows


def pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the way that was ranked first beside the others of the same set and seed."""
    found = []
    for first in rows:
        if first["place"] == 1:
            others = [r for r in rows if (r["set"], r["seed"]) == (first["set"], first["seed"])]
            found += [(first, other) for other in others if other["place"] != 1]
    return found


def summary(rows: Sequence[Row]) -> str:
    """Return how often the first way was better, and by how much, by set and by opponent."""
    lines = []
    compared = pairs(rows)
    for name in (*dict.fromkeys(row["set"] for row in rows), "all"):
        for place, opponent in ((0, PLAIN), (2, "second"), (3, "third")):
            chosen = [
                (a, b) for a, b in compared if name in (a["set"], "all") and b["place"] == place
            ]
            if not chosen:
                continue
            ratios = np.array([np.log(a["after"] / b["after"]) for a, b in chosen])
            wins = int((ratios < 0).sum())
            error = ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.nan
            lines.append(
                f"{name:14} first against {opponent:13}: lower loss in {wins} of {len(chosen)}, "
                f"loss x {np.exp(ratios.mean()):.3f} (standard error of the log {error:.3f})"
            )
    return "\n".join(lines)


def picture(rows: Sequence[Row], path: Path) -> None:
    """Draw the loss over that of plain batches against the predicted gain, a point a run."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    plain = {(row["set"], row["seed"]): row["after"] for row in rows if row["place"] == 0}
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["place"]))
    for color, kind in zip(PALETTE, kinds, strict=False):
        chosen = [row for row in rows if row["kind"] == kind and row["place"]]
        ratios = [row["after"] / plain[row["set"], row["seed"]] for row in chosen]
        gains = [row["gain"] for row in chosen]
        ax.plot(gains, ratios, "o", color=color, markersize=5, alpha=0.7, label=kind)
    ax.axhline(1.0, color="0.6", linewidth=1)
    ax.axvline(1.0, color="0.6", linewidth=1)
    ax.set_xlabel("predicted gain: variance of plain batches of the same cost / that of the way")
    ax.set_ylabel("training loss / that of plain batches")
    ax.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the advice, and write the table and the picture."""
    rows, folder = measure("checked_advice", __doc__, SETS, checked, 5, arguments)
    print(summary(rows))
    picture(rows, folder / "checked_advice.png")


if __name__ == "__main__":
    main()
