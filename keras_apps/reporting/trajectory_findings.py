"""Sentences on a trajectory: how variances follow the learning rate, and how training went."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from keras_apps.experiments.trajectory import Trajectory
from tf_gradvar.pages import PERCENT

Record = dict[str, Any]


def phases(trajectory: Trajectory, records: Sequence[Record]) -> dict[float, list[Record]]:
    """Return the records of each learning rate, in the order of the rates.

    A measurement right at a drop belongs to the rate before it.

    Args:
        trajectory: When the rate drops.
        records: In the order of the steps.
    """
    found: dict[float, list[Record]] = {}
    for record in records:
        passed = sum(drop < record["step"] for drop in trajectory.drops)
        rate = trajectory.learning_rate * trajectory.drop_factor**passed
        found.setdefault(rate, []).append(record)
    return found


def sentences_on_rates(trajectory: Trajectory, records: Sequence[Record]) -> list[str]:
    """Return the median variance at each learning rate; nothing where there is one rate."""
    found = phases(trajectory, records)
    if len(found) < 2:
        return []
    first = next(iter(records[0]["estimators"]))
    parts = []
    for rate, own in found.items():
        values = [record["estimators"][first] for record in own]
        variance, normalized = (
            statistics.median(v[name] for v in values)
            for name in ("average_variance", "normalized_variance")
        )
        parts.append(f"{variance:.3g} ({normalized:.2f}) at {rate:.3g}")
    return [
        f"Median variance of {first} by learning rate, normalized in brackets: {', '.join(parts)}."
    ]


def sentences_on_losses(records: Sequence[Record]) -> list[str]:
    """Return where losses and accuracies end; nothing where they were not recorded."""
    end = records[-1]
    if "training_accuracy" not in end:
        return []
    training, test = (100 * end[f"{part}_accuracy"] for part in ("training", "test"))
    return [
        f"At step {end['step']} the training loss is {end['training_loss']:.3g}, the accuracy "
        f"{training:.1f}{PERCENT} of training and {test:.1f}{PERCENT} of test examples."
    ]
