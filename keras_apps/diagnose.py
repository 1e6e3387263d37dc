"""Tell how noisy the gradients of your model are, where and why, and what would help.

    python -m keras_apps.diagnose --model model.keras --data train.npz --workdir runs/diagnosis
    python -m keras_apps.diagnose --model model.keras --data train.npz --metadata columns.csv \
        --workdir runs/diagnosis --batch-size 64 --budget full --time-limit 60

The model is a compiled one that `model.save` wrote. The data are a .npz file with the arrays x and
y (or x_train and y_train), as the model takes them, or one of the data sets that
`keras_apps.sources` has, by name. The CSV file has a column for everything that is known of the
examples, such as their source, and a row for each of them, in their order.

Results are in the workdir: noise.html, noise.json, and scores.csv with a row for each example that
was looked at.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_apps import sources
from keras_apps.argument_parser import argument_parser
from keras_apps.running import faults
from tf_gradvar.diagnosis import Diagnosis, diagnose
from tf_gradvar.diagnosis.limits import BUDGETS

NAME = "keras_apps.diagnose"
# The part of the time limit that is kept for the page.
RESERVED = 0.1
FAILED = 1
PAIRS = (("x", "y"), ("x_train", "y_train"))


def read_model(path: Path) -> keras.Model:
    """Return the model in a file.

    Raises:
        ValueError: No such file, or no model in it.
    """
    if not path.is_file():
        raise ValueError(f"`--model` must be a file that `model.save` wrote. Received: {path}.")
    try:
        return keras.saving.load_model(path)
    except (ValueError, TypeError, OSError) as error:
        cause, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"`--model` must be a file that `model.save` wrote, and whose classes Keras knows. "
            f"Received: {path} ({cause}). Call `tf_gradvar.diagnose` from your own code, where "
            "they are."
        ) from error


def read_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and labels, from a file or a data set by its name.

    Raises:
        ValueError: Neither, or a file without them.
    """
    path = Path(name)
    if path.suffix != ".npz":
        source = sources.load(name)
        if not isinstance(source.x_train, np.ndarray):
            raise ValueError(
                "`--data` must be data that fit into memory. Received: "
                f"{name}, whose images stay on the disk. Pass a .npz file with some of them."
            )
        return source.x_train, source.y_train
    if not path.is_file():
        raise ValueError(f"`--data` must be a .npz file. Received: {path}, which is not there.")
    with np.load(path, allow_pickle=False) as file:
        for pair in PAIRS:
            if all(part in file.files for part in pair):
                return file[pair[0]], file[pair[1]]
        found = ", ".join(file.files) or "none"
    raise ValueError(
        "`--data` must be a .npz file with the arrays x and y, or x_train and y_train. Received: "
        f"{path} with {found}. Write it with `numpy.savez(path, x=x, y=y)`."
    )


def read_metadata(path: Path | None) -> dict[str, list[str]] | None:
    """Return the columns of a CSV file by their names; None for no file.

    Raises:
        ValueError: No such file, no column, or rows of other lengths than the first.
    """
    if path is None:
        return None
    if not path.is_file():
        raise ValueError(f"`--metadata` must be a CSV file. Received: {path}, which is not there.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        names, *rows = list(csv.reader(file)) or [[]]
    wrong = next((n for n, row in enumerate(rows, 2) if len(row) != len(names)), None)
    if not names or wrong is not None:
        raise ValueError(
            "`--metadata` must be a CSV file with the names of its columns in the first line, and "
            f"as many values in every other. Received: {path}"
            + (f", whose line {wrong} has another number." if wrong else ", which is empty.")
        )
    return {name: _numbers([row[place] for row in rows]) for place, name in enumerate(names)}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argument_parser(NAME, __doc__)
    made.add_argument("--model", type=Path, required=True, help="a file that model.save wrote")
    made.add_argument("--data", required=True, help="a .npz file, or the name of a data set")
    made.add_argument("--metadata", type=Path, help="a CSV file, a row for each example")
    made.add_argument("--workdir", type=Path, required=True, help="folder of the results")
    made.add_argument("--batch-size", type=int, default=32, help="in training; default: 32")
    made.add_argument("--budget", choices=list(BUDGETS), default="business")
    made.add_argument("--time-limit", type=float, help="seconds for all of it; default: none")
    made.add_argument(
        "--training-mode", action="store_true", help="measure batch statistics and dropout, too"
    )
    made.add_argument("--seed", type=int, default=0)
    return made


def seconds_since_start() -> float:
    """Return how long the process has run, most of it importing; 0 where the system is silent."""
    try:
        _, _, fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(")")
        started = int(fields.split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(float(Path("/proc/uptime").read_text("ascii").split()[0]) - started, 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def main(arguments: Sequence[str] | None = None, spent: float = 0.0) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name. Defaults to those of the process.
        spent: Seconds of the time limit that are gone already.

    Returns:
        The exit status: 0; 1 where the machine is at fault.

    Raises:
        SystemExit: With status 2, for what cannot be diagnosed.
    """
    reader = parser()
    options = reader.parse_args(arguments)
    try:
        report = _diagnose(options, spent)
        page = report.save(options.workdir / "noise.html")
        report.to_json(options.workdir / "noise.json")
        if report.who is not None:
            report.to_csv(options.workdir / "scores.csv")
    except (ValueError, ImportError) as error:
        reader.error(str(error))
    except OSError as error:
        print(
            f"python -m {NAME}: error: {faults.sentence(error, options.workdir)}", file=sys.stderr
        )
        return FAILED
    print(report)
    print(f"\nReport: {page}")
    return 0


def _diagnose(options: argparse.Namespace, spent: float) -> Diagnosis:
    start, limit = time.perf_counter() - spent, options.time_limit
    model = read_model(options.model)
    x, y = read_data(options.data)
    metadata = read_metadata(options.metadata)
    if limit is not None and limit > 0:
        left = (1.0 - RESERVED) * limit - (time.perf_counter() - start)
        limit = max(left, 1e-3)  # which is refused, with how much is needed
    return diagnose(
        model,
        x,
        y,
        metadata=metadata,
        batch_size=options.batch_size,
        budget=options.budget,
        time_limit=limit,
        training=options.training_mode,
        seed=options.seed,
    )


def _numbers(column: list[str]) -> list[str] | list[float]:
    """Return a column of whole and decimal numbers as such, any other as it is."""
    try:
        found = [float(value) if value else float("nan") for value in column]
    except ValueError:
        return column
    return found if any(column) else column


if __name__ == "__main__":
    raise SystemExit(main(spent=seconds_since_start()))
