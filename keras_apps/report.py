"""The report of an experiment: one page that needs nothing but itself.

A section is a function of `ReportData` that returns HTML, or "" where it has nothing to say.
`SECTIONS` lists them in the order of the page; a new section is one more function in the list.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_apps import findings, report_page, summary
from keras_apps.config import Loaded
from keras_apps.experiment import Experiment
from keras_apps.report_figures import (
    comparison_pictures,
    least_squares_pictures,
    variance_pictures,
)
from keras_apps.report_page import (
    grid,
    page,
    paragraph,
    preformatted,
    scrolling_table,
    section,
)
from keras_apps.study_report import variance_section
from keras_apps.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class ReportData:
    """What the sections write about.

    Attributes:
        loaded: The configuration, of an `Experiment`.
        records: All the records of runs, tuning included.
        variances: The records along the trajectory.
        rows: The summary.
        figures: Folder where pictures and their numbers go.
        description: Of the data, in a sentence or two.
    """

    loaded: Loaded
    records: Sequence[dict[str, Any]]
    variances: Sequence[dict[str, Any]]
    rows: Sequence[summary.Row]
    figures: Path
    description: str

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.loaded.config


def write(loaded: Loaded, description: str, workdir: Workdir) -> Path:
    """Write report.html and the figures from the records of a workdir.

    Args:
        loaded: The configuration.
        description: Of the data, in a sentence or two.
        workdir: The folder, with finished runs in its records.

    Returns:
        The page's path.
    """
    records = workdir.records.read()
    data = ReportData(
        loaded=loaded,
        records=records,
        variances=workdir.variances.read(),
        rows=summary.summarise(records, loaded.config),
        figures=workdir.figures,
        description=description,
    )
    path = workdir.path / "report.html"
    path.write_text(page(loaded.title, [part(data) for part in SECTIONS]), "utf-8")
    return path


def headline(data: ReportData) -> str:
    """What the numbers say; for a smoke test, that they say nothing."""
    found = findings.of(data.rows, data.records, data.experiment)
    said = data.loaded.conclusions(found)
    if not said:
        return ""
    text = paragraph(said[0], "finding") + "".join(map(paragraph, said[1:]))
    if data.loaded.is_smoke_test:
        return text
    headings, cells = findings.changes(data.records, data.experiment, data.rows[0].early_step)
    if not cells:
        return text
    note = (
        "Relative change from the optimizer without the control variate to the one with it, each "
        "at its own learning rate"
    ) + (
        "; mean over seeds. * lower on every seed."
        if len(data.experiment.seeds) > 1
        else ", on one seed: nothing tells how much of it is chance."
    )
    return text + scrolling_table(headings, cells, ()) + paragraph(note, "note")


def what_was_run(data: ReportData) -> str:
    """Data, model, steps, seeds, and how the learning rates were chosen."""
    experiment = data.experiment
    seeds = "one seed" if len(experiment.seeds) == 1 else f"{len(experiment.seeds)} seeds"
    rates = (
        "Each optimizer has its own learning rate, the best of the same number of candidates by "
        "the final loss on the whole training set, with a seed that the comparison does not use."
        if any(optimizer.candidates for optimizer in experiment.optimizers)
        else "All optimizers have the given learning rate."
    )
    tuning = sum(1 for r in data.records if r["kind"] == "finished" and r["tunes"])
    here = f" ({tuning} tuning runs are in these records.)" if tuning else ""
    text = (
        f"{len(experiment.optimizers)} optimizers take {experiment.steps} steps on the same "
        f"batches from the same initial weights, with {seeds}. A step averages C groups of "
        f"{experiment.group_size} examples; the examples of a group are of one cluster. Learning "
        f"rate: {_schedule_text(experiment)}. {rates}{here}"
    )
    return section("What was run", paragraph(data.description) + paragraph(text))


def table(data: ReportData) -> str:
    """The summary table."""
    if not data.rows:
        return ""
    headings, cells = summary.table(data.rows)
    bold = {index for index, row in enumerate(data.rows) if row.optimizer.base is not None}
    values = (
        "Mean ± standard deviation over seeds."
        if len(data.experiment.seeds) > 1
        else "The values of one seed."
    )
    note = (
        f"{values} “Rate chosen” tells whether the learning rate was "
        "the best of several candidates, and whether it was the smallest or largest of them. "
        "Steps per second are medians without evaluations, on a machine that may have had other "
        "work to do. All digits are in summary.csv."
    )
    return section("Table", scrolling_table(headings, cells, bold) + paragraph(note, "note"))


def curves(data: ReportData) -> str:
    """Loss and accuracy over training, for each number of groups in a step."""
    if not data.rows:
        return ""
    least_squares = least_squares_pictures(data.records, data.experiment, data.figures)
    if least_squares:
        return section("Risk over training", grid(least_squares))
    parts = []
    for groups in data.experiment.groups_per_batch:
        pictures = comparison_pictures(data.records, data.experiment, groups, data.figures)
        name = "group" if groups == 1 else "groups"
        parts.append(section(f"Curves with {groups} {name} in a step", grid(pictures)))
    return "\n".join(parts)


def between_clusters(data: ReportData) -> str:
    """The between-cluster variance over training."""
    pictures = variance_pictures(data.records, data.experiment, data.figures)
    if not pictures:
        return ""
    text = (
        "How much a group's gradient depends on which cluster it was drawn from, measured on the "
        "training set at each evaluation. No buffer: Σ q<sub>k</sub>‖∇R<sub>k</sub> &minus; ∇R‖². "
        "With buffers: Σ q<sub>k</sub>‖∇R<sub>k</sub> &minus; g<sub>k</sub>‖², as in the paper's "
        "figure; momentum has one buffer for all clusters. “Left in the step” is the part that "
        "really remains in the corrected gradient, Σ q<sub>k</sub>‖∇R<sub>k</sub> &minus; "
        "g<sub>k</sub> &minus; (∇R &minus; Σ q<sub>k</sub>g<sub>k</sub>)‖². A step of C groups has "
        "1/C of it. Dots are seeds, lines their mean, smoothed over three evaluations. Each "
        "optimizer is measured at its own weights: the variance also falls where training is "
        "further on."
    )
    remaining = findings.variance_left(data.records, data.experiment)
    if data.loaded.is_smoke_test:
        remaining = []
    return section(
        "Between-cluster variance over training",
        f"<p>{text}</p>\n" + "".join(map(paragraph, remaining)) + grid(pictures),
    )


def gradient_variance(data: ReportData) -> str:
    """The variance of gradient estimators along a trajectory of plain SGD."""
    trajectory = data.experiment.gradient_variance
    if trajectory is None:
        return ""
    return variance_section(trajectory, data.variances, data.figures, data.loaded)


SNIPPET = """\
import keras, numpy as np
from tf_gradvar import ClusterModel, Discover, cluster_batches

x = np.random.default_rng(0).normal(size=(600, 8)).astype("float32")  # your examples,
y = x[:, :3].argmax(axis=1)                                           # their targets,
clusters = y                                                          # and their clusters
batches = cluster_batches((x, y), clusters, num_clusters=3, group_size=16, seed=0)
network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
model = ClusterModel.from_model(network)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(Discover(learning_rate=0.1, num_clusters=3), loss, metrics=["accuracy"])
model.fit(batches, steps_per_epoch=100, epochs=3)
"""


def run_your_own(data: ReportData) -> str:
    """Commands and a few lines of code."""
    commands = "\n".join(
        [
            f"python -m keras_apps.train {data.loaded.words} --workdir runs/again",
            f"python -m keras_apps.train {data.loaded.words} --workdir runs/other --set seeds=7",
            "python -m keras_apps.train --list",
        ]
    )
    return section(
        "Run your own",
        paragraph("This experiment again, one field of it changed, and the other experiments:")
        + preformatted(commands)
        + paragraph("Your own model and data; a cluster is any label that you have:")
        + preformatted(SNIPPET),
    )


def about(data: ReportData) -> str:
    """The configuration's own words and the versions."""
    seconds = math.fsum(
        data.experiment.evaluate_every / record["steps_per_second"]
        for record in data.records
        if "steps_per_second" in record
    )
    note = f"Steps took {seconds:.0f} s in all, evaluations apart."
    return report_page.about(data.loaded.name, data.loaded.text, note)


SECTIONS: list[Callable[[ReportData], str]] = [
    headline,
    what_was_run,
    table,
    curves,
    between_clusters,
    gradient_variance,
    run_your_own,
    about,
]


def _schedule_text(experiment: Experiment) -> str:
    warmup = f" after {experiment.warmup_steps} steps of warm-up" if experiment.warmup_steps else ""
    if experiment.schedule == "cosine":
        return f"cosine decay to zero{warmup}"
    return f"constant{warmup}"
