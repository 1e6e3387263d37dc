"""The command line of a benchmark over data sets and seeds, whose rows become a table in a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_apps.reporting.pictures import write_csv

Row = dict[str, Any]


class Measured(NamedTuple):
    """All rows, and the folder where the table is."""

    rows: list[Row]
    folder: Path


def measure(
    name: str,
    text: str | None,
    sets: Iterable[str],
    rows_of: Callable[[str, int, Path], Iterable[Row]],
    digits: int,
    arguments: Sequence[str] | None,
) -> Measured:
    """Measure the sets and seeds that the command line names, and write the table.

    Args:
        name: Of the benchmark, of its workdir below runs, and of the table.
        text: The docstring of its module.
        sets: The names of all data sets.
        rows_of: (set, seed, workdir) -> rows; what the workdir holds is not measured again.
        digits: Significant ones of the numbers in the table.
        arguments: Of the command line; None for those of the process.
    """
    parser = argparse.ArgumentParser(description=(text or "").splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(sets), choices=list(sets))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, default=Path("runs") / name)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parsed = parser.parse_args(arguments)
    rows = [
        row
        for chosen in parsed.sets
        for seed in parsed.seeds
        for row in rows_of(chosen, seed, parsed.workdir)
    ]
    write_csv(
        (
            {k: f"{v:.{digits}g}" if isinstance(v, float) else v for k, v in row.items()}
            for row in rows
        ),
        parsed.folder / f"{name}.csv",
    )
    return Measured(rows, parsed.folder)
