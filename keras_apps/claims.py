"""Write a page on the claims of a paper, from the records of our runs.

    python -m keras_apps.claims discover --runs runs --write docs/claims_discover.md

The runs of `keras_apps.train --config NAME:VARIANT` are looked for in the folder NAME-VARIANT, the
default workdir. What was not run is called so.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_apps.experiments.optimizer_comparison import Experiment
from keras_apps.reporting import discover_claims
from keras_apps.reporting.claims import Claim, markdown
from keras_apps.reporting.comparison_results import Results
from keras_apps.running import configurations
from keras_apps.running.workdir import differences, read_object
from tf_gradvar.records import RecordFile

NAME = "keras_apps.claims"


class Paper(NamedTuple):
    """A paper's page: its title, introduction, claims, and the experiments that test them."""

    title: str
    introduction: str
    claims: Sequence[Claim]
    experiments: Sequence[str]


PAPERS = {
    "discover": Paper(
        discover_claims.TITLE,
        discover_claims.INTRODUCTION,
        discover_claims.CLAIMS,
        discover_claims.EXPERIMENTS,
    )
}


def results_of(name: str, runs: Path) -> Results | None:
    """Return the results of an experiment, as far as it was run; None if it was not begun.

    Args:
        name: "NAME:VARIANT".
        runs: The folder of the workdirs.

    Raises:
        ValueError: A workdir of another configuration.
    """
    folder = runs / name.replace(":", "-")
    if not (folder / "config.json").is_file():
        return None
    experiment: Experiment = configurations.load(name).config
    different = differences(read_object(folder / "config.json"), configurations.to_json(experiment))
    if different:
        raise ValueError(
            f"{folder} must hold the runs of {name}. These differ: {', '.join(different)}. Move it "
            "away, or run the configuration again."
        )
    results = Results.of(RecordFile(folder / "records.jsonl").read(), experiment)
    return results if results.arms else None


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    description, _, commands = (__doc__ or "").partition("\n\n")
    made = argparse.ArgumentParser(
        prog=f"python -m {NAME}",
        description=description,
        epilog=commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("paper", choices=PAPERS)
    made.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    made.add_argument("--write", type=Path, metavar="FILE", help="default: the terminal")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status, 0.

    Raises:
        SystemExit: With status 2, for a workdir that does not fit.
    """
    reader = parser()
    parsed = reader.parse_args(arguments)
    paper = PAPERS[parsed.paper]
    try:
        every = {name: results_of(name, parsed.runs) for name in paper.experiments}
    except ValueError as error:
        reader.error(str(error))
    found = {name: results for name, results in every.items() if results is not None}
    text = markdown(paper.title, paper.introduction, paper.claims, found)
    if parsed.write is None:
        print(text, end="")
    else:
        parsed.write.parent.mkdir(parents=True, exist_ok=True)
        parsed.write.write_text(text, encoding="utf-8")
        print(f"{len(found)} of {len(every)} experiments: {parsed.write}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
