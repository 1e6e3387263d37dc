"""Report on a trajectory: pictures, a table and sentences, as a section or a page of its own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from keras_apps import figures
from keras_apps.config import Loaded
from keras_apps.figures import Picture
from keras_apps.report_page import (
    about,
    grid,
    page,
    paragraph,
    preformatted,
    scrolling_table,
    section,
)
from keras_apps.trajectory import Study, Trajectory
from keras_apps.workdir import Workdir
from tf_gradvar import plots

Record = dict[str, Any]

CAPTIONS = {
    "average_variance": "Average variance of each estimate, at the same weights.",
    "normalized_variance": "Normalized variance: 0 is no noise, 1 is nothing but noise.",
}

SNIPPET = """\
import keras, numpy as np
from tf_gradvar import SVRG, GradientVarianceLogger, MiniBatch, Stratified

x = np.random.default_rng(0).normal(size=(600, 8)).astype("float32")  # your examples
y = x[:, :3].argmax(axis=1)                                           # and their targets
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
estimators = [MiniBatch(16), MiniBatch(32), SVRG(16), Stratified(y)]
logger = GradientVarianceLogger(x, y, estimators, every_steps=20, path="variance.jsonl")
model.fit(x, y, batch_size=16, epochs=2, callbacks=[logger])
"""


def write(loaded: Loaded, description: str, workdir: Workdir) -> Path:
    """Write report.html and the figures of a study.

    Args:
        loaded: The configuration, of a `Study`.
        description: Of the data, in a sentence or two.
        workdir: The folder, with a finished trajectory.

    Returns:
        The page's path.
    """
    study: Study = loaded.config
    records = workdir.variances.read()
    parts = [
        *(paragraph(text, "finding") for text in loaded.conclusions([])),
        section("What was run", paragraph(description)),
        variance_section(study.trajectory, records, workdir.figures, loaded),
        about(loaded.name, loaded.text, _cost(records)),
    ]
    path = workdir.path / "report.html"
    path.write_text(page(loaded.title, parts), "utf-8")
    return path


def variance_section(
    trajectory: Trajectory, records: Sequence[Record], folder: Path, loaded: Loaded
) -> str:
    """The section of a report: what to see, two pictures, a table, and how to run it.

    Args:
        trajectory: What was trained.
        records: What was measured along it.
        folder: Where pictures and their numbers go.
        loaded: The configuration, of either app.

    Returns:
        HTML; empty if nothing was measured.
    """
    if not records:
        return ""
    how = (
        f"Plain SGD (learning rate {trajectory.learning_rate:g}, momentum "
        f"{trajectory.momentum:g}, batches of {trajectory.batch_size}) takes {trajectory.steps} "
        f"steps. Every {trajectory.measure_every} steps all estimators are measured at the same "
        "weights, exactly: in closed form from the gradient of every training example, with "
        "nothing drawn. “strata” draws from each of the problem's clusters its share of a batch, "
        "GC (Gradient Clustering) one example from each of as many clusters of gradients. Every "
        f"{trajectory.refresh_every} steps, after the measurement, SVRG takes a snapshot and the "
        "gradients are clustered again."
    )
    headings, cells = table(records)
    note = (
        "Against the first estimator: the median over the second half of the measurements, the "
        "lowest and the highest of all. SVRG needs two gradients for each example of its batch, "
        "and one of all the data for each snapshot; GC needs those of all the data for each "
        "clustering. All of it is along the trajectory of plain SGD: training on the batches of "
        "another estimator is another matter. All numbers: variances.jsonl."
    )
    commands = f"python -m keras_apps.study {loaded.words} --workdir runs/variance"
    return section(
        "Gradient variance along one trajectory",
        (paragraph(" ".join(findings(records)), "finding") if not loaded.is_smoke_test else "")
        + paragraph(how)
        + grid(pictures(records, folder))
        + scrolling_table(headings, cells, ())
        + paragraph(note, "note")
        + paragraph("This measurement alone, and the same for a model of your own:")
        + preformatted(commands)
        + preformatted(SNIPPET),
    )


def pictures(records: Sequence[Record], folder: Path) -> list[Picture]:
    """Average and normalized variance over the steps, one colour for each estimator.

    Args:
        records: What was measured.
        folder: Where the pictures and their numbers go.

    Returns:
        The two pictures.
    """
    found = []
    for value, caption in CAPTIONS.items():

        def plot(ax: Axes, value: str = value) -> Axes:
            plots.plot_variance(records, ax, value=value, smoothing=1).get_legend().remove()
            if value == "normalized_variance":
                ax.set_yscale("linear")
                ax.set_ylim(0, 1.03)
            return figures.add_legend(ax, columns=3)

        numbers = [
            {"step": record["step"], "estimator": name, value: values[value]}
            for record in records
            for name, values in record["estimators"].items()
        ]
        found.append(figures.draw(f"gradient_{value}", caption, folder, plot, numbers))
    return found


def table(records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Each estimator's variances at the last measurement, and against the first estimator.

    Args:
        records: What was measured, at least once.

    Returns:
        Headings, and the cells of each row.
    """
    last = records[-1]
    first, *_ = last["estimators"]
    ratios = relative(records)
    headings = [
        "estimator",
        f"average variance, step {last['step']}",
        "normalized variance",
        f"against {first}",
        "lowest",
        "highest",
    ]
    cells = [
        [
            name,
            f"{values['average_variance']:.3g}",
            f"{values['normalized_variance']:.3f}",
            f"{middle(ratios[name]):.2f}",
            f"{min(ratios[name]):.2f}",
            f"{max(ratios[name]):.2f}",
        ]
        for name, values in last["estimators"].items()
    ]
    return headings, cells


def findings(records: Sequence[Record]) -> list[str]:
    """What the numbers say.

    Args:
        records: What was measured, at least once.

    Returns:
        Sentences.
    """
    start, end = records[0], records[-1]
    ratios = relative(records)
    first, *others = ratios
    compared = ", ".join(f"{name} {middle(ratios[name]):.2f}" for name in others)
    before, after = (record["estimators"][first] for record in (start, end))
    return [
        f"Variance in units of that of {first}, at the same weights, in the second half: "
        f"{compared}.",
        *(
            f"{name} has more variance than {first} at {len(worse)} of {len(records)} "
            f"measurements, up to {max(ratios[name]):.1f} times of it, the last time at step "
            f"{worse[-1]}."
            for name in others
            if (worse := _steps_above_one(records, ratios[name]))
        ),
        f"From step {start['step']} to step {end['step']} the normalized variance of {first} goes "
        f"from {before['normalized_variance']:.2f} to {after['normalized_variance']:.2f}, and the "
        "noise scale, the batch size at which noise and signal are equal, from "
        f"{before['noise_scale']:.0f} to {after['noise_scale']:.0f} examples.",
    ]


def relative(records: Sequence[Record]) -> dict[str, list[float]]:
    """Each estimator's variance in units of the first one's, at each measurement."""
    found: dict[str, list[float]] = {}
    for record in records:
        unit = next(iter(record["estimators"].values()))["average_variance"]
        for name, values in record["estimators"].items():
            found.setdefault(name, []).append(values["average_variance"] / unit)
    return found


def middle(ratios: Sequence[float]) -> float:
    """The median over the second half of the measurements."""
    return statistics.median(ratios[len(ratios) // 2 :])


def _steps_above_one(records: Sequence[Record], ratios: Sequence[float]) -> list[int]:
    return [r["step"] for r, ratio in zip(records, ratios, strict=True) if ratio > 1]


def _cost(records: Sequence[Record]) -> str:
    last = records[-1]
    return (
        f"Training took {last['training_seconds']:.0f} s, measuring "
        f"{last['measuring_seconds']:.0f} s."
    )
