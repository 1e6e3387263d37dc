"""Report on a grid of random features models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_apps.experiments.feature_grid import GC, GC_PAPER, SG, SG_2B, SVRG_NAME, FeatureGrid
from keras_apps.reporting import feature_pictures as draw
from keras_apps.reporting.about import about
from keras_apps.reporting.feature_results import (
    EXACT,
    FRESH,
    PUBLISHED,
    Middle,
    Record,
    chosen,
    shares,
    summary,
    values_of,
)
from keras_apps.running.configurations import Loaded
from tf_gradvar.pages import (
    Gallery,
    Part,
    Picture,
    Report,
    Section,
    Table,
    Text,
    findings_parts,
)

NORMALIZED = "normalized_variance"


def feature_report(loaded: Loaded, records: Sequence[Record], figures: Path) -> Report:
    """Draw the figures and return the report on a grid with at least one run."""
    grid: FeatureGrid = loaded.config
    findings = loaded.conclusions(_findings(records))
    seconds = sum(record["seconds"] for record in records)
    cost = f"{len(records)} runs took {seconds / 60:.1f} minutes, measuring included."
    parts: list[Part] = [
        *findings_parts(findings),
        Section("What was run", [Text(_how(grid, records))]),
        Section("Estimators", [Gallery([*draw.of_estimators(records, "max", figures)])]),
        Section("Against SG-B", [_table(records), Text(_note(), "note")]),
        Section("Learning rates and widths", [Gallery(_of_settings(records, figures))]),
        Section("Means", [Gallery([*draw.of_estimators(records, "mean", figures)])]),
    ]
    if not any(grid.duplicates):
        single = [*draw.of_single_choices(records, "max", figures)]
        parts.append(Section("Every choice of widths by itself", [Gallery(single)]))
    parts.append(about(loaded, cost))
    return Report(loaded.title, findings, _table(records, reaches=False), parts)


def _of_settings(records: Sequence[Record], figures: Path) -> list[Picture]:
    return [
        draw.of_learning_rates(records, "max", figures),
        draw.of_learning_rates(records, "mean", figures),
        *draw.of_widths(records, "max", figures),
        draw.of_statistics(records, figures),
    ]


def _how(grid: FeatureGrid, records: Sequence[Record]) -> str:
    counts = values_of(records, "examples")
    return (
        f"A teacher relu(x W1) w2 + b with random weights labels N normal inputs, N from "
        f"{min(counts):,} to {max(counts):,}. The student has {grid.student_features:,} frozen "
        "random features and a trained output layer without a bias. Plain SGD takes "
        f"{grid.steps:,} steps of {grid.batch_size} examples, weight decay {grid.l2:g}. Every "
        f"{grid.measure_every} steps all estimators are measured at the same weights, exactly, in "
        f"closed form from the gradient of every example; every {grid.draw_every} steps some of "
        "them by the statistic of the published figures, too, from "
        f"{grid.num_draws} draws around the mean of {grid.num_draws} others. Every "
        f"{grid.refresh_every:,} steps, after the measurement, SVRG takes a snapshot and the "
        f"gradients are clustered. {GC} is Gradient Clustering with exact moves on sketches, "
        f"{GC_PAPER} that with rank-1 centres and running counts, {grid.paper_passes} passes."
    )


def _note() -> str:
    return (
        "Exact variance over that of SG-B at the same weights: median over the runs and the last "
        "70 % of the steps (lowest to highest), and right after a clustering. All numbers: "
        "records.jsonl, a line for each run; summary.csv."
    )


def _table(records: Sequence[Record], reaches: bool = True) -> Table:
    """Return the variances of the estimators against SG-B, for each h_s/N."""
    names = (SG_2B, SVRG_NAME, GC, GC_PAPER)
    headings = ["duplicates", "h_s/N", *names, f"fresh {GC}", f"fresh {GC_PAPER}"]
    cells = [
        [
            f"{100 * share:g} %",
            f"{ratio:g}",
            *(_share(own, name, EXACT, reaches) for name in names),
            *(_share(own, name, FRESH, reaches) for name in (GC, GC_PAPER)),
        ]
        for share in values_of(records, "duplicates")
        for ratio in values_of(records, "ratio")
        if (own := chosen(records, duplicates=share, ratio=ratio))
    ]
    fresh = headings[-2:]
    return Table(headings, cells, only_on_page=fresh)


def _share(records: Sequence[Record], name: str, part: str, reaches: bool) -> str:
    found = Middle.of([v for record in records for v in shares(record, name, SG, part)])
    if not reaches or found.lowest == found.highest:
        return f"{found.median:.2f}"
    return f"{found.median:.2f} ({found.lowest:.2f} to {found.highest:.2f})"


def _findings(records: Sequence[Record]) -> list[str]:
    return [
        *(_of_clusters(chosen(records, duplicates=d), d) for d in values_of(records, "duplicates")),
        _of_normalized(records),
    ]


def _of_clusters(records: Sequence[Record], duplicates: float) -> str:
    """Return how the variance of clusters compares with SG-B."""
    with_copies = f" with {100 * duplicates:g} % duplicates" if duplicates else ""
    texts = []
    for name in (GC, GC_PAPER):
        stale, fresh = (
            [v for record in records for v in shares(record, name, SG, part)]
            for part in (EXACT, FRESH)
        )
        below = sum(v < 0.5 for v in stale) / len(stale)
        middle, at_once = Middle.of(stale), Middle.of(fresh)
        texts.append(
            f"{name} {middle.median:.2f} (from {middle.lowest:.2g} to {middle.highest:.2g}; below "
            f"{SG_2B} in {100 * below:.0f} % of the measurements), right after a clustering "
            f"{at_once.median:.2f}"
        )
    return f"Variance{with_copies} over that of {SG} at the same weights: {'; '.join(texts)}."


def _of_normalized(records: Sequence[Record]) -> str:
    """Return how large the normalized variance gets, by both statistics."""
    exact, published = (
        max(summary(record, SG, NORMALIZED, part=part) for record in records)
        for part in (EXACT, PUBLISHED)
    )
    return (
        f"The largest exact normalized variance of {SG} is {exact:.3f}; it cannot be above 1. The "
        f"statistic of the published figures reaches {published:.3f}."
    )
