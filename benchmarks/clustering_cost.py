"""Cost of the steps of Gradient Clustering over that of back-prop, beside the paper's Table 1.

    python -m benchmarks.clustering_cost                                     # two minutes, one core
    python -m benchmarks.clustering_cost --write docs/cost_of_clustering.md  # the page, no timing

One layer at a time, fully connected or a 3x3 convolution, batches of 128, processor time on one
core. Timed are whole passes, each with its own forward pass and the gradients at the layer's
outputs:

backprop   forward pass and the gradient of the weights
outputs    forward pass and the gradient at the outputs, which all passes below need
A step     outputs, and the inner products with K rank-1 centres
U step     outputs, and the K mean factors
norms      outputs, and the norms of all examples

What a step adds is its pass minus "outputs". The page also takes gradient_clustering_cost.json and
gradient_clustering_sweep.json of `benchmarks.clustering`: whole clusterings, and the variance
against K.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from benchmarks.timing import interleaved_medians, pin_tensorflow, write_json
from tf_gradvar import per_example
from tf_gradvar.clustering.passes import GradientPasses
from tf_gradvar.data.examples import ArrayExamples
from tf_gradvar.losses import ModelLoss
from tf_gradvar.plots import PALETTE

BATCH = 128
BATCHES = 4
CLUSTERS = (10, 128)
WIDTHS = (64, 256, 1024, 2048)
# Channels and side of the images.
IMAGES = ((16, 32), (32, 16), (64, 8), (64, 16))
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
NAME = "gradient_clustering_layers"


class Layer(NamedTuple):
    """One layer by the symbols of the table: I inputs, O outputs, T places (1: fully connected)."""

    inputs: int
    outputs: int
    places: int

    @property
    def name(self) -> str:
        """What it is."""
        if self.places == 1:
            return f"dense {self.inputs} x {self.outputs}"
        side = round(self.places**0.5)
        return f"convolution 3x3, {self.outputs} channels, {side}x{side}"

    def model(self) -> keras.Model:
        """Return a model of this layer alone; a convolution is averaged over its places."""
        if self.places == 1:
            layers = [keras.Input((self.inputs,)), keras.layers.Dense(self.outputs)]
            return keras.Sequential(layers)
        side = round(self.places**0.5)
        return keras.Sequential(
            [
                keras.Input((side, side, self.outputs)),
                keras.layers.Conv2D(self.outputs, 3, padding="same"),
                keras.layers.GlobalAveragePooling2D(),
            ]
        )

    def predicted(self, clusters: int) -> dict[str, float]:
        """Return the table's complexities over that of back-prop, B T I O."""
        k, t, i, o = clusters, self.places, self.inputs, self.outputs
        # C . g: Eq. 8 and Eq. 9;  g . g: Eq. 8 and Eq. 9
        products = min((t + k) * i * o, t * k * (i + o))
        norms = min(t * i * o, t**2 * (i + o))
        whole = t * i * o
        return {
            "A step": products / whole,
            "U step": (i + o) / whole,
            "norms": norms / whole,
        }


def layers() -> Iterator[Layer]:
    """Yield the layers that are timed, growing."""
    yield from (Layer(width, width, 1) for width in WIDTHS)
    yield from (Layer(9 * channels, channels, side**2) for channels, side in IMAGES)


def timed(layer: Layer, clusters: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of all passes over the data, and their ratios."""
    model = layer.model()
    rng = np.random.default_rng(0)
    count = BATCH * BATCHES
    x = rng.normal(size=(count, *model.input_shape[1:])).astype("float32")
    y = rng.integers(0, layer.outputs, count)
    examples, assignments = ArrayExamples(x, y), rng.integers(0, clusters, count)
    passes = GradientPasses(model, ModelLoss(model, LOSS), None, BATCH)
    centres = passes.mean_factors(examples, assignments, clusters)
    variants: dict[str, Callable[[], Any]] = {
        "backprop": _each_batch(_backprop(model), x, y),
        "outputs": _each_batch(_outputs(model), x, y),
        "A step": lambda: passes.centre_products(examples, centres),
        "U step": lambda: passes.mean_factors(examples, assignments, clusters),
        "norms": _each_batch(tf.function(lambda a, b: _norms(model, a, b)), x, y),
    }
    seconds = interleaved_medians(variants, repeats, clock=time.process_time)
    predicted = layer.predicted(clusters)
    return {
        "layer": layer.name,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "places": layer.places,
        "clusters": clusters,
        "seconds": seconds,
        "passes": {name: seconds[name] / seconds["backprop"] for name in predicted},
        "steps": {
            name: (seconds[name] - seconds["outputs"]) / seconds["backprop"] for name in predicted
        },
        "predicted": predicted,
    }


def measure(folder: Path, repeats: int) -> None:
    """Time all layers, and write the numbers and a picture."""
    pin_tensorflow(1)
    rows = []
    for layer in layers():
        for clusters in CLUSTERS:
            rows.append(timed(layer, clusters, repeats))
            print(rows[-1]["layer"], clusters, rows[-1]["steps"], flush=True)
    write_json(folder / f"{NAME}.json", {"rows": rows})
    _picture(rows).savefig(folder / f"{NAME}.png", dpi=110)


def page(folder: Path) -> str:
    """Return the page on the cost of clusterings, from what was measured so far."""
    sections = {
        f"{NAME}.json": _steps_section,
        "gradient_clustering_cost.json": _whole_section,
        "gradient_clustering_sweep.json": _sweep_section,
    }
    parts = [
        "# Cost of Gradient Clustering",
        "Written by `python -m benchmarks.clustering_cost --write docs/cost_of_clustering.md` from "
        "the numbers in `benchmarks/results`.",
    ]
    for name, section in sections.items():
        if (folder / name).exists():
            parts += section(json.loads((folder / name).read_text(encoding="utf-8")))
    return "\n\n".join(parts) + "\n"


def _steps_section(found: Mapping[str, Any]) -> list[str]:
    rows = found["rows"]
    names = list(rows[0]["steps"])
    lines = [
        f"| layer | K | {' | '.join(f'{name}, measured | {name}, table' for name in names)} |",
        f"|---|---|{'---|---|' * len(names)}",
    ]
    for row in rows:
        pairs = (f"{row['steps'][name]:.2f} | {row['predicted'][name]:.2g}" for name in names)
        lines.append(f"| {row['layer']} | {row['clusters']} | {' | '.join(pairs)} |")
    return [
        "## A step and U step, one layer at a time",
        "Faghri et al. 2020, Table 1, gives the complexity of each step; here is what a step adds "
        "to a forward pass with the gradients at the outputs, over back-prop, beside the table's "
        "ratio (of Eqs. 8 and 9 the smaller one). Batches of 128, processor time on one core. "
        "Norms are needed once for a clustering here; in the paper's A step each time. The table "
        "counts multiplications alone: the smaller a layer is, the more the rest weighs. "
        f"[Picture](../benchmarks/results/{NAME}.png).",
        "\n".join(lines),
    ]


def _whole_section(costs: Mapping[str, Any]) -> list[str]:
    lines = ["| network | sketches | clustering |", "|---|---|---|"]
    for name, found in costs.items():
        if name != "environment":
            sketches, whole = found["sketches / epoch"], found["clustering / epoch"]
            lines.append(f"| {name} | {sketches:.2f} | {whole:.2f} |")
    return [
        "## Whole clusterings",
        "Time of a clustering over that of one plain forward and backward epoch, K = B = 128, two "
        "cores (`python -m benchmarks.clustering cost`). The sketches are the one pass over the "
        "data; all passes of the clustering are made in their space, whatever their number. The "
        "paper's form makes two passes over the data for every pass of the clustering.",
        "\n".join(lines),
    ]


def _sweep_section(found: Mapping[str, Any]) -> list[str]:
    lines = ["| K | variance over SG-B | seconds of the clustering |", "|---|---|---|"]
    lines += [
        f"| {point['value']} | {point['ratio']:.3f} | {point['seconds']:.2f} |"
        for point in found["clusters"]
    ]
    return [
        "## Variance against K",
        "MLP 784-1024-1024-10 on 4 864 digits after 2 500 steps (`python -m benchmarks.clustering "
        "sweep`): variance of one draw from each of K clusters over that of K independent draws, "
        "so that SG-2B is at 0.5 for every K. "
        "[Picture](../benchmarks/results/gradient_clustering_sweep.png).",
        "\n".join(lines),
    ]


def _picture(rows: Sequence[Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, dense in zip(axes, (True, False), strict=True):
        own = [row for row in rows if (row["places"] == 1) == dense and row["clusters"] == 128]
        labels = [row["layer"].replace(", ", "\n").replace("dense ", "dense\n") for row in own]
        for name, color in zip(own[0]["steps"], PALETTE, strict=False):
            measured = [max(row["steps"][name], 1e-3) for row in own]
            ax.plot(labels, measured, "o-", color=color, markersize=4, label=f"{name}, measured")
            table = [row["predicted"][name] for row in own]
            ax.plot(labels, table, "--", color=color, linewidth=1, label=f"{name}, table")
        ax.set_yscale("log")
        ax.tick_params(axis="x", labelsize=7)
        ax.grid(color="#dddddd", linewidth=0.6)
    axes[0].set_ylabel("added to a pass, over back-prop (no unit)\nK = 128, shown from 0.001 on")
    axes[1].legend(frameon=False, fontsize=7)
    return figure


def _each_batch(function: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    batches = [
        (tf.constant(x[start : start + BATCH]), tf.constant(y[start : start + BATCH]))
        for start in range(0, len(x), BATCH)
    ]

    def run() -> None:
        for batch in batches:
            last = function(*batch)
        last.numpy()

    return run


def _backprop(model: keras.Model) -> Callable[..., tf.Tensor]:
    values = [variable.value for variable in model.trainable_variables]

    @tf.function
    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=False))
        # The bias comes last, and is small: the kernel is computed, and not copied.
        kernel, bias = tape.gradient(loss, values)
        with tf.control_dependencies([kernel]):
            return tf.identity(bias)

    return gradient


def _outputs(model: keras.Model) -> Callable[..., tf.Tensor]:
    @tf.function
    def gradient(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        outputs = model(x, training=False)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = LOSS(y, outputs)
        return tape.gradient(loss, outputs)

    return gradient


def _norms(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    return per_example.squared_norms(model, x, y, LOSS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the layers, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead")
    parsed = parser.parse_args(arguments)
    if parsed.write is not None:
        parsed.write.write_text(page(parsed.folder), encoding="utf-8")
        return
    measure(parsed.folder, parsed.repeats)


if __name__ == "__main__":
    main()
