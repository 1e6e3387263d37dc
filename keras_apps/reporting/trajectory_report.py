"""Report on a trajectory: a section of another report, or a page of its own."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_apps.experiments.trajectory import Trajectory
from keras_apps.experiments.variance_study import Study
from keras_apps.reporting.about import about
from keras_apps.reporting.trajectory_findings import sentences_on_losses, sentences_on_rates
from keras_apps.reporting.trajectory_pictures import trajectory_pictures
from keras_apps.running.configurations import Loaded
from tf_gradvar.pages import Code, Gallery, Part, Picture, Report, Section, Table, Text

Record = dict[str, Any]

SNIPPET = """\
import keras, numpy as np
from tf_gradvar import SVRG, GradientVarianceLogger, MiniBatch, Stratified

x = np.random.default_rng(0).normal(size=(600, 8)).astype("float32")  # your examples
y = x[:, :3].argmax(axis=1)                                           # and their targets
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
estimators = [MiniBatch(16), MiniBatch(32), SVRG(16), Stratified(y)]
logger = GradientVarianceLogger(x, y, estimators, every=20, path="variance.jsonl")
model.fit(x, y, batch_size=16, epochs=2, callbacks=[logger])
"""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured along a trajectory.

    Attributes:
        records: At least one, in the order of the steps, those of all seeds.
        ratios: Each estimator's variance in units of the first one's, at each measurement.
    """

    records: Sequence[Record]
    ratios: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Measured:
        """Compare the estimators of the records."""
        records = sorted(records, key=lambda record: record["step"])
        ratios: dict[str, list[float]] = {}
        for record in records:
            unit = next(iter(record["estimators"].values()))["average_variance"]
            for name, values in record["estimators"].items():
                ratios.setdefault(name, []).append(values["average_variance"] / unit)
        return cls(records, ratios)

    @property
    def first(self) -> str:
        """The estimator that the others are compared with."""
        return next(iter(self.ratios))

    def middle(self, name: str) -> float:
        """Return an estimator's median ratio over the second half of the measurements."""
        ratios = self.ratios[name]
        return statistics.median(ratios[len(ratios) // 2 :])

    @functools.cached_property
    def table(self) -> Table:
        """Each estimator's variances at the last measurement, and against the first one."""
        last = self.records[-1]
        headings = [
            "estimator",
            f"average variance, step {last['step']}",
            "normalized variance",
            f"against {self.first}",
            "lowest",
            "highest",
        ]
        cells = [
            [
                name,
                f"{values['average_variance']:.3g}",
                f"{values['normalized_variance']:.3f}",
                f"{self.middle(name):.2f}",
                f"{min(self.ratios[name]):.2f}",
                f"{max(self.ratios[name]):.2f}",
            ]
            for name, values in last["estimators"].items()
        ]
        return Table(headings, cells)

    @functools.cached_property
    def findings(self) -> list[str]:
        """What the numbers say."""
        start, end = self.records[0], self.records[-1]
        first, *others = self.ratios
        compared = ", ".join(f"{name} {self.middle(name):.2f}" for name in others)
        before, after = (record["estimators"][first] for record in (start, end))
        return [
            f"Variance in units of that of {first}, at the same weights, in the second half: "
            f"{compared}.",
            *(
                f"{name} has more variance than {first} at {len(worse)} of {len(self.records)} "
                f"measurements, up to {max(self.ratios[name]):.1f} times of it, the last time at "
                f"step {worse[-1]}."
                for name in others
                if (worse := self._steps_above_one(name))
            ),
            f"From step {start['step']} to step {end['step']} the normalized variance of {first} "
            f"goes from {before['normalized_variance']:.2f} to {after['normalized_variance']:.2f}, "
            "and the noise scale, the batch size at which noise and signal are equal, from "
            f"{before['noise_scale']:.0f} to {after['noise_scale']:.0f} examples.",
        ]

    def _steps_above_one(self, name: str) -> list[int]:
        pairs = zip(self.records, self.ratios[name], strict=True)
        return [record["step"] for record, ratio in pairs if ratio > 1]


def study_report(
    loaded: Loaded,
    records: Sequence[Record],
    description: str,
    figures: Path,
    images: Sequence[Picture] = (),
) -> Report:
    """Draw the figures and return the report on a study with at least one measurement.

    Args:
        loaded: The study.
        records: Of its trajectories.
        description: Of its data.
        figures: The folder of the pictures.
        images: Pictures of clusters. Defaults to none.
    """
    study: Study = loaded.config
    measured = Measured.of(records)
    last = records[-1]
    cost = (
        f"Training took {last['training_seconds']:.0f} s, measuring "
        f"{last['measuring_seconds']:.0f} s."
    )
    parts: list[Part] = [
        *(Text(text, "finding") for text in loaded.conclusions([])),
        Section("What was run", [Text(description)]),
        variance_section(study.trajectory, measured, figures, loaded),
        *([Section("Images of clusters", [Gallery(images)])] if images else []),
        about(loaded, cost),
    ]
    findings = loaded.conclusions(
        [*measured.findings, *sentences_on_training(study.trajectory, measured)]
    )
    return Report(loaded.title, findings, measured.table, parts)


def variance_section(
    trajectory: Trajectory, measured: Measured, figures: Path, loaded: Loaded
) -> Section:
    """Return the section: what to see, two pictures, a table, and how to run it."""
    note = (
        "Against the first estimator: the median over the second half of the measurements, the "
        "lowest and the highest of all. SVRG needs two gradients for each example of its batch, "
        "and one of all the data for each snapshot; GC needs those of all the data for each "
        "clustering. All of it is along the trajectory of plain SGD: training on the batches of "
        "another estimator is another matter. All numbers: variances.jsonl."
    )
    said = [*measured.findings, *sentences_on_training(trajectory, measured)]
    findings = [] if loaded.is_smoke_test else [Text(" ".join(said), "finding")]
    return Section(
        "Gradient variance along one trajectory",
        [
            *findings,
            Text(how_it_was_measured(trajectory)),
            Gallery(trajectory_pictures(trajectory, measured.records, figures)),
            measured.table,
            Text(note, "note"),
            Text("This measurement alone, and the same for a model of your own:"),
            Code(f"python -m keras_apps.study {loaded.words} --workdir runs/variance"),
            Code(SNIPPET),
        ],
    )


def sentences_on_training(trajectory: Trajectory, measured: Measured) -> list[str]:
    """Return what the learning rate does to the variance, and how training ended."""
    records = measured.records
    return [*sentences_on_rates(trajectory, records), *sentences_on_losses(records)]


def how_it_was_measured(trajectory: Trajectory) -> str:
    """Return how the model was trained, and what was measured when."""
    ways = {
        "exact": "exactly: in closed form from the gradient of every training example, with "
        "nothing drawn",
        "subset": f"in closed form from the gradients of {trajectory.subset_size:,} random "
        "training examples, with a standard error",
        "paper_2020": "as the paper did, from estimates that are drawn",
    }
    drops = ", ".join(f"{drop:,}" for drop in trajectory.drops)
    also = trajectory.published_every
    sentences = [
        f"SGD (learning rate {trajectory.learning_rate:g}, momentum {trajectory.momentum:g}, "
        f"batches of {trajectory.batch_size}) takes {trajectory.steps:,} steps.",
        f"The learning rate is multiplied by {trajectory.drop_factor:g} after the steps {drops}."
        if drops
        else "",
        f"Coupled weight decay is {trajectory.weight_decay:g}." if trajectory.weight_decay else "",
        f"There are {trajectory.repeats} trajectories, with seeds of their own."
        if trajectory.repeats > 1
        else "",
        f"Every {trajectory.measure_every} steps all estimators are measured at the same weights, "
        f"{ways[trajectory.method]}.",
        f"Every {also:,} steps the statistic behind the paper's figures is measured beside, from 2 "
        f"x {trajectory.num_draws} estimates: its expectation is {1 + 1 / trajectory.num_draws:.3g}"
        " times the variance, and pure noise has a normalized variance above 1."
        if also
        else "",
        "“strata” draws from each of the problem's clusters its share of a batch, GC (Gradient "
        "Clustering) one example from each of as many clusters of gradients.",
        f"Every {trajectory.refresh_every:,} steps, after the measurement, SVRG takes a snapshot "
        "and the gradients are clustered again.",
    ]
    return " ".join(filter(None, sentences))
