"""Choice of learning rates and arguments: as many runs and the same criterion for everyone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_apps.experiments.optimizer_comparison import Experiment, Run
from keras_apps.experiments.search import Candidate, badness


def scores_of(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the final score of each finished tuning run, by its name."""
    return {
        record["run"]: record["score"]
        for record in records
        if record["kind"] == "finished" and record["tunes"]
    }


def choose(
    records: Iterable[dict[str, Any]], experiment: Experiment
) -> dict[tuple[str, int], Candidate]:
    """Return the learning rate and arguments for each optimizer's name and number of groups.

    It is the candidate with the smallest final score. The score is that of the problem: for
    classification the loss on the whole training set, which is what the optimizers minimise. It is
    taken from runs of full length with a seed that the comparison does not use. A run that diverged
    counts as infinite.
    """
    scores = scores_of(records)
    tried: dict[tuple[str, int], list[Run]] = {}
    for run in experiment.tuning_runs(scores):
        tried.setdefault((run.optimizer.name, run.groups), []).append(run)
    return {
        key: min(runs, key=lambda run: badness(run.candidate, scores[run.name])).candidate
        for key, runs in tried.items()
    }
