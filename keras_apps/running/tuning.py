"""Choice of learning rates: the same number of candidates and the same criterion for everyone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment


def choose(
    records: Iterable[dict[str, Any]], experiment: Experiment
) -> dict[tuple[str, int], float]:
    """Return the learning rate for each optimizer's name and number of groups.

    It is the candidate with the smallest final score. The score is that of the problem: for
    classification the loss on the whole training set, which is what the optimizers minimise. It is
    taken from runs of full length with a seed that the comparison does not use. A run that diverged
    counts as infinite.
    """
    ends = {
        record["run"]: record
        for record in records
        if record["kind"] == "finished" and record["tunes"]
    }
    best: dict[tuple[str, int], tuple[float, float]] = {}
    for run in experiment.tuning_runs():
        score = ends[run.name]["score"]
        entry = (score if math.isfinite(score) else math.inf, run.learning_rate)
        key = (run.optimizer.name, run.groups)
        best[key] = min(best.get(key, entry), entry)
    return {key: rate for key, (_, rate) in best.items()}
