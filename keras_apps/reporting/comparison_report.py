"""Report on a comparison of optimizers.

A section of the page is a function of `Material` that returns parts, none where it has nothing to
say. `SECTIONS` lists them in the order of the page; a new section is one more function in the list.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.reporting.about import about
from keras_apps.reporting.carried_pictures import carried_section
from keras_apps.reporting.comparison_pictures import (
    comparison_pictures,
    final_pictures,
    risk_pictures,
    variance_pictures,
)
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.comparison_tables import changes_table, rivals_table, summary_table
from keras_apps.reporting.example_pictures import examples_picture
from keras_apps.reporting.findings import findings_of, variance_left
from keras_apps.reporting.trajectory_report import Measured, variance_section
from keras_apps.running.configurations import Loaded
from keras_apps.running.shown_examples import ShownExamples
from tf_gradvar.pages import (
    Code,
    Gallery,
    Markup,
    Part,
    Report,
    Section,
    Table,
    Text,
    findings_parts,
)


@dataclasses.dataclass(frozen=True)
class Material:
    """What the sections write about.

    Attributes:
        loaded: The configuration, of an `Experiment`.
        results: Of its runs.
        variances: The records along its trajectory, if it has one.
        description: One or two sentences about the data.
        figures: Folder where pictures and their numbers go.
        examples: Examples as training sees them, where they change from visit to visit.
    """

    loaded: Loaded
    results: Results
    variances: Sequence[dict[str, Any]]
    description: str
    figures: Path
    examples: ShownExamples | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.results.experiment

    @functools.cached_property
    def findings(self) -> list[str]:
        """What the results say; for a smoke test that they say nothing."""
        return self.loaded.conclusions(findings_of(self.results))

    @functools.cached_property
    def summary(self) -> Table | None:
        """The table of the results, if any run is finished."""
        return summary_table(self.results) if self.results.arms else None


def comparison_report(material: Material) -> Report:
    """Draw the figures and return the report."""
    parts = [part for section in SECTIONS for part in section(material)]
    return Report(material.loaded.title, material.findings, material.summary, parts)


def headline(material: Material) -> list[Part]:
    """Return what the numbers say; for a smoke test, that they say nothing."""
    parts = findings_parts(material.findings)
    if material.loaded.is_smoke_test or not material.results.arms:
        return parts
    changes = changes_table(material.results)
    if not changes.cells:
        return parts
    note = (
        "Relative change from the optimizer without the control variate to the one with it, each "
        "at its own learning rate"
    ) + (
        "; mean over seeds. * lower on every seed."
        if len(material.experiment.seeds) > 1
        else ", on one seed: nothing tells how much of it is chance."
    )
    return [*parts, changes, Text(note, "note")]


def what_was_run(material: Material) -> list[Part]:
    """Return data, model, steps, seeds, and how the learning rates were chosen."""
    experiment = material.experiment
    seeds = "one seed" if len(experiment.seeds) == 1 else f"{len(experiment.seeds)} seeds"
    rates = _how_rates_were_chosen(experiment)
    tuning = material.results.tuning_runs
    here = f" ({tuning} tuning runs are in these records.)" if tuning else ""
    schedule = "cosine decay to zero" if experiment.schedule == "cosine" else "constant"
    warmup = f" after {experiment.warmup_steps} steps of warm-up" if experiment.warmup_steps else ""
    text = (
        f"{len(experiment.optimizers)} optimizers take {experiment.steps} steps on the same "
        f"batches from the same initial weights, with {seeds}. A step averages C groups of "
        f"{experiment.group_size} examples; the examples of a group are of one cluster. Learning "
        f"rate: {schedule}{warmup}. {rates}{here}"
    )
    compared = len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    done = sum(len(arm.seeds) for arm in material.results.arms)
    if done < compared:
        text += f" So far {done} of {compared} runs of the comparison are finished."
    parts: list[Part] = [Text(material.description), Text(text)]
    if material.examples is not None:
        parts.append(Gallery([examples_picture(material.examples, material.figures)]))
    return [Section("What was run", parts)]


def _how_rates_were_chosen(experiment: Experiment) -> str:
    criterion = "the final loss on the whole training set, with a seed that the comparison"
    if any(optimizer.search for optimizer in experiment.optimizers):
        return (
            "Learning rate and arguments of each optimizer are, for each C, the best of "
            f"{experiment.tuning_budget} tuning runs by {criterion} does not use: three quarters "
            "of them are drawn from its grid, the others go on from the best one."
        )
    if any(optimizer.candidates for optimizer in experiment.optimizers):
        return (
            "Each optimizer has its own learning rate, the best of the same number of candidates "
            f"by {criterion} does not use."
        )
    return "All optimizers have the given learning rate."


def finals(material: Material) -> list[Part]:
    """Return the final losses of all optimizers, and the forms beside their best rivals."""
    results = material.results
    if not results.measures("training_loss"):
        return []
    parts: list[Part] = [Gallery(final_pictures(results, material.figures))]
    rivals = rivals_table(results)
    if rivals.cells and not material.loaded.is_smoke_test:
        note = (
            "The best rival has the lowest mean final training loss of the optimizers without a "
            "buffer for each cluster, on the same batches. Change: the mean over seeds."
        )
        parts += [rivals, Text(note, "note")]
    return [Section("Final training loss", parts)]


def table(material: Material) -> list[Part]:
    """Return the summary table."""
    if material.summary is None:
        return []
    values = (
        "Mean ± standard deviation over seeds."
        if len(material.experiment.seeds) > 1
        else "The values of one seed."
    )
    searched = (
        "; “none tried above it” that no run had the same arguments and up to twice the rate"
        if any(optimizer.search for optimizer in material.experiment.optimizers)
        else ""
    )
    note = (
        f"{values} “Rate chosen” tells whether the learning rate was "
        "the best of several candidates, and whether it was the smallest or largest of them"
        f"{searched}. "
        "Steps per second are medians without evaluations, on a machine that may have had other "
        "work to do. All digits are in summary.csv."
    )
    return [Section("Table", [material.summary, Text(note, "note")])]


def curves(material: Material) -> list[Part]:
    """Return risk, or loss and accuracy for each number of groups in a step, over training."""
    results, figures = material.results, material.figures
    if results.measures("excess_risk"):
        return [Section("Risk over training", [Gallery(risk_pictures(results, figures))])]
    counts = dict.fromkeys(arm.groups for arm in results.arms)
    return [
        Section(
            f"Curves with {groups} {'group' if groups == 1 else 'groups'} in a step",
            [Gallery(comparison_pictures(results, groups, figures))],
        )
        for groups in counts
    ]


def between_clusters(material: Material) -> list[Part]:
    """Return the between-cluster variance over training."""
    pictures = variance_pictures(material.results, material.figures)
    if not pictures:
        return []
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
    remaining = [] if material.loaded.is_smoke_test else variance_left(material.results)
    return [
        Section(
            "Between-cluster variance over training",
            [Markup(text), *map(Text, remaining), Gallery(pictures)],
        )
    ]


def carried_buffers(material: Material) -> list[Part]:
    """Return what buffers of several kinds hold, all at the same weights."""
    return carried_section(material.results, material.figures)


def gradient_variance(material: Material) -> list[Part]:
    """Return the variance of gradient estimators along a trajectory of plain SGD."""
    trajectory = material.experiment.gradient_variance
    if trajectory is None or not material.variances:
        return []
    measured = Measured.of(material.variances)
    return [variance_section(trajectory, measured, material.figures, material.loaded)]


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


def run_your_own(material: Material) -> list[Part]:
    """Return commands and a few lines of code."""
    words = material.loaded.words
    commands = [
        f"python -m keras_apps.train {words} --workdir runs/again",
        f"python -m keras_apps.train {words} --workdir runs/other --set seeds=7",
        "python -m keras_apps.train --list",
    ]
    return [
        Section(
            "Run your own",
            [
                Text("This experiment again, one field of it changed, and the other experiments:"),
                Code("\n".join(commands)),
                Text("Your own model and data; a cluster is any label that you have:"),
                Code(SNIPPET),
            ],
        )
    ]


def about_the_experiment(material: Material) -> list[Part]:
    """Return the configuration's own words and the versions."""
    seconds = f"Steps took {material.results.seconds:.0f} s in all, evaluations apart."
    return [about(material.loaded, seconds)]


SECTIONS: list[Callable[[Material], list[Part]]] = [
    headline,
    what_was_run,
    finals,
    table,
    curves,
    between_clusters,
    carried_buffers,
    gradient_variance,
    run_your_own,
    about_the_experiment,
]
