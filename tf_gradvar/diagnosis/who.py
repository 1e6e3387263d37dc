"""Who carries the noise: groups of examples, and single ones, from one pass over the data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_unsigned_seed
from tf_gradvar.diagnosis.columns import Column, as_column, class_column, read_columns
from tf_gradvar.diagnosis.concentration import Concentration, concentration
from tf_gradvar.diagnosis.duplicates import TOLERANCE, near_duplicates
from tf_gradvar.diagnosis.example_measurements import ExampleMeasurements
from tf_gradvar.diagnosis.group_noise import GroupNoise, Noise, noise_by_group
from tf_gradvar.diagnosis.wrong_labels import WrongLabels, wrong_labels


@dataclass(frozen=True)
class Duplicates:
    """Examples whose gradients nearly agree.

    Attributes:
        group: Of each example, from 0 in the order of their first examples, -1 for none, int64
            `[N]`.
        num_groups: The number of groups.
        spare: Examples that could go: those of all groups but one of each.
        spare_part: Their part of all examples, from 0 to 1.
        tolerance: The largest relative distance of two gradients that are joined.
    """

    group: np.ndarray
    num_groups: int
    spare: int
    spare_part: float
    tolerance: float


@dataclass(frozen=True)
class Who:
    """Findings about groups of examples and single ones.

    Attributes:
        by_class: The share of the noise between the classes; None without labels, and where
            `skipped` says why.
        by_column: The same for each column of the metadata.
        skipped: Name of a column, or `class` -> a sentence that says why nothing is said of it.
        adjusted_p_values: The p-values of the shares, `class` included, corrected for the number
            of columns (Holm 1979).
        concentration: The examples that hold most of the second moment, and those that hold
            nearly none.
        wrong_labels: Candidates for wrong labels; None without labels or with one class.
        duplicates: Near-duplicates.
        scores: Name of a score -> its value for each example, `[N]`: index, and where there are
            labels label and prediction; loss; norm; second_moment_share; with labels
            class_alignment and wrong_label_score; duplicate_group; idle.
        left_out: Numbers of the examples whose gradients are not finite, in none of the above,
            int64 `[n]`.
    """

    by_class: GroupNoise | None
    by_column: dict[str, GroupNoise]
    skipped: dict[str, str]
    adjusted_p_values: dict[str, float]
    concentration: Concentration
    wrong_labels: WrongLabels | None
    duplicates: Duplicates
    scores: dict[str, np.ndarray]
    left_out: np.ndarray

    def save_scores(self, path: str | Path) -> None:
        """Write the scores as a CSV file, one row for each example.

        Args:
            path: The file; its folder must exist.
        """
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.scores)
            writer.writerows(
                zip(*(column.tolist() for column in self.scores.values()), strict=True)
            )


def examine(measurements: ExampleMeasurements, metadata: Any = None, *, seed: int = 0) -> Who:
    """Return who carries the noise of the gradients: groups, and single examples.

    Args:
        measurements: Of at least two examples, from `measure_examples`.
        metadata: Columns with one entry for each example of the data (not only of those that were
            measured): a dictionary, a pandas DataFrame or a structured array. Defaults to None.
        seed: Of the permutation tests. Defaults to 0.

    Raises:
        ValueError: Fewer than two examples, metadata of another form or length.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> source = np.repeat(["old", "new"], 50)
        >>> g = rng.normal(size=(100, 8)) * np.where(source == "old", 3.0, 1.0)[:, None]
        >>> found = examine(ExampleMeasurements(
        ...     indices=np.arange(100), squared_norms=np.square(g).sum(axis=1),
        ...     sketches=g.astype("float32"), losses=np.ones(100), labels=None, predictions=None,
        ...     left_out=np.array([], int), count=100), {"source": source})
        >>> row = found.by_column["source"].rows[0]
        >>> row.group, round(row.noise_share, 2), row.p_value
        ('old', 0.9, 0.002)

    Cost: as its parts. Seconds of a processor with 20 000 examples and sketches of 256 numbers: 2
    for the classes and each column, 4 for wrong labels, 1 for near-duplicates.
    """
    seed = check_unsigned_seed(seed)
    if len(measurements) < 2:
        raise ValueError(
            "`measurements` must hold at least 2 examples: a variance needs two. Received: "
            f"{len(measurements)}. Measure more of the data."
        )
    columns = _columns(measurements, metadata)
    noise = Noise.of(measurements.squared_norms, measurements.sketches)
    skipped = {name: text for name, c in columns.items() if (text := _why_not(c, noise.total))}
    found = {
        name: noise_by_group(noise, column, seed)
        for name, column in columns.items()
        if name not in skipped
    }
    labels = measurements.labels
    suspects = None
    if labels is not None and len(np.unique(labels)) > 1:
        suspects = wrong_labels(measurements, seed)
    held = concentration(measurements.squared_norms)
    duplicates = _duplicates(measurements)
    return Who(
        by_class=found.get("class") if labels is not None else None,
        by_column={n: f for n, f in found.items() if labels is None or n != "class"},
        skipped=skipped,
        adjusted_p_values=_adjusted({name: f.p_value for name, f in found.items()}),
        concentration=held,
        wrong_labels=suspects,
        duplicates=duplicates,
        scores=_scores(measurements, held, suspects, duplicates),
        left_out=measurements.left_out,
    )


def _columns(measurements: ExampleMeasurements, metadata: Any) -> dict[str, Column]:
    """Return the classes and the columns, at the examples that were measured."""
    columns = {
        name: as_column(name, values[measurements.indices])
        for name, values in read_columns(metadata, measurements.count).items()
    }
    if measurements.labels is None:
        return columns
    if "class" in columns:
        columns["class (metadata)"] = columns.pop("class")
    return {"class": class_column(measurements.labels), **columns}


def _why_not(column: Column, noise: float) -> str:
    """Return a sentence on why nothing can be said of a column; empty where it can."""
    groups, examples = len(column.groups), len(column.ids)
    if groups == 1:
        return f"All {examples} examples have the same value, {column.groups[0]!r}."
    if groups == examples:
        return f"Each of the {examples} examples has a value of its own."
    if noise == 0:
        return "All gradients are equal, so that there is no noise to share out."
    return ""


def _adjusted(p_values: dict[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number: Holm's step-down procedure."""
    adjusted, largest = {}, 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def _duplicates(measurements: ExampleMeasurements) -> Duplicates:
    group = near_duplicates(measurements.squared_norms, measurements.sketches)
    num_groups = int(group.max()) + 1
    spare = int((group >= 0).sum()) - num_groups
    return Duplicates(group, num_groups, spare, spare / len(group), TOLERANCE)


def _scores(
    measurements: ExampleMeasurements,
    held: Concentration,
    suspects: WrongLabels | None,
    duplicates: Duplicates,
) -> dict[str, np.ndarray]:
    total = measurements.squared_norms.sum()
    scores: dict[str, np.ndarray] = {"index": measurements.indices}
    if measurements.labels is not None and measurements.predictions is not None:
        scores |= {"label": measurements.labels, "prediction": measurements.predictions}
    scores |= {
        "loss": measurements.losses,
        "norm": np.sqrt(measurements.squared_norms),
        "second_moment_share": measurements.squared_norms / (total if total > 0 else 1.0),
    }
    if suspects is not None:
        scores |= {
            "class_alignment": suspects.class_alignment,
            "wrong_label_score": suspects.scores,
        }
    return scores | {"duplicate_group": duplicates.group, "idle": held.idle}
