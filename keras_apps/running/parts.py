"""Parts of an experiment that were run in other workdirs, by several processes at once.

    python -m keras_apps.train --config NAME --workdir runs/one   --set groups_per_batch=1
    python -m keras_apps.train --config NAME --workdir runs/eight --set groups_per_batch=8
    python -m keras_apps.train --config NAME --workdir runs/all   --with runs/one --with runs/eight

The last command takes over what the others have finished, and trains what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_apps.experiments.feature_grid import FeatureGrid
from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.running.configurations import to_json
from keras_apps.running.workdir import (
    Workdir,
    WorkdirError,
    differences,
    fingerprint_in,
    read_object,
)
from tf_gradvar.records import RecordFile

# Fields that say which runs there are; the others say what a run is.
SELECTION = ("title", "optimizers", "groups_per_batch", "seeds")
GRID_SELECTION = (
    "title",
    "ratios",
    "learning_rates",
    "input_widths",
    "teacher_widths",
    "duplicates",
    "seeds",
)


def take_over(workdir: Workdir, experiment: Experiment, other: Path) -> int:
    """Take over the records of the finished runs of another workdir that belong to the experiment.

    Runs that are finished here stay as they are. Weights and TensorBoard's logs are not taken.

    Args:
        workdir: Of the experiment.
        experiment: What is run.
        other: The folder of a part of it, which another process may still be working in.

    Returns:
        How many runs were taken over.

    Raises:
        WorkdirError: A folder of another experiment, of other data, or of none.
    """
    _check_same(to_json(experiment), other)
    _check_same_data(workdir, other)
    names = {optimizer.name for optimizer in experiment.optimizers}
    found = RecordFile(other / "records.jsonl").read()
    mine = {
        record["run"]
        for record in found
        if record["kind"] == "finished"
        and record["optimizer"] in names
        and record["groups"] in experiment.groups_per_batch
        and (record["tunes"] or record["seed"] in experiment.seeds)
    } - set(workdir.finished())
    for run in mine:
        workdir.records.truncate_after(-1, run=run)
    for record in found:
        if record["run"] in mine:
            workdir.records.append(record)
    return len(mine)


def take_over_grid(workdir: Workdir, grid: FeatureGrid, other: Path) -> int:
    """Take over the finished runs of another workdir that belong to a grid.

    Args:
        workdir: Of the grid.
        grid: What is run.
        other: The folder of a part of it, or of a grid that overlaps.

    Returns:
        How many runs were taken over.

    Raises:
        WorkdirError: A folder of runs that are not trained and measured in this way, or of none.
    """
    theirs = _config_in(other)
    different = differences(
        _without(theirs, GRID_SELECTION), _without(to_json(grid), GRID_SELECTION)
    )
    if different:
        raise _not_a_part(other, different)
    mine, finished = {run.name for run in grid.runs()}, workdir.finished()
    taken = [
        record
        for record in RecordFile(other / "records.jsonl").read()
        if record["run"] in mine and record["run"] not in finished
    ]
    for record in taken:
        workdir.records.append(record)
    return len(taken)


def _config_in(other: Path) -> dict[str, Any]:
    path = other / "config.json"
    if not path.is_file():
        raise WorkdirError(
            f"`--with` must be the workdir of a part of this experiment. Received: {other}, which "
            "has no config.json."
        )
    return read_object(path)


def _not_a_part(other: Path, different: list[str]) -> WorkdirError:
    return WorkdirError(
        f"`--with` must be the workdir of a part of this experiment. Received: {other}, in "
        f"which these differ: {', '.join(different)}."
    )


def _check_same(config: Mapping[str, Any], other: Path) -> None:
    theirs = _config_in(other)
    optimizers = {entry["name"]: entry for entry in theirs.pop("optimizers", [])}
    same = {entry["name"]: entry for entry in config["optimizers"] if entry["name"] in optimizers}
    different = differences(
        {"optimizers": {name: optimizers[name] for name in same}} | _without(theirs, SELECTION),
        {"optimizers": same} | _without(config, SELECTION),
    )
    if different:
        raise _not_a_part(other, different)


def _check_same_data(workdir: Workdir, other: Path) -> None:
    mine, theirs = fingerprint_in(workdir.path), fingerprint_in(other)
    if None not in (mine, theirs) and mine != theirs:
        raise WorkdirError(
            f"`--with` must be the workdir of runs on the same data, whose fingerprint is {mine}. "
            f"Received: {other}, of data with the fingerprint {theirs}."
        )


def _without(config: Mapping[str, Any], selection: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in selection}
