"""Write a page on the claims of a paper, from the records of our runs.

    python -m keras_apps.claims discover --runs runs --write docs/claims_discover.md
    python -m keras_apps.claims gradient_variance --runs runs \
        --write docs/claims_gradient_variance.md

The runs of a configuration NAME:VARIANT are looked for in the folder NAME-VARIANT, the default
workdir. What was not run is called so; with --keep, its rows stay as the page has them, so that
experiments may be run at different times and places.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_apps.argument_parser import argument_parser
from keras_apps.experiments.feature_grid import FeatureGrid
from keras_apps.experiments.variance_study import Study
from keras_apps.reporting import discover_claims, variance_claims
from keras_apps.reporting.claims import markdown
from keras_apps.reporting.comparison_results import Results
from keras_apps.reporting.kept_rows import rows_on
from keras_apps.reporting.trajectory_values import Trajectories
from keras_apps.reporting.verdicts import Claim
from keras_apps.running import configurations
from keras_apps.running.workdir import differences, read_object
from tf_gradvar.records import RecordFile

NAME = "keras_apps.claims"


class Paper(NamedTuple):
    """A paper's page: its title, introduction, claims, and the experiments that test them.

    The column beside the experiment is headed by what tells the rows of a claim apart.
    """

    title: str
    introduction: str
    claims: Sequence[Claim]
    experiments: Sequence[str]
    readings: str = "reading"


PAPERS = {
    "discover": Paper(
        discover_claims.TITLE,
        discover_claims.INTRODUCTION,
        discover_claims.CLAIMS,
        discover_claims.EXPERIMENTS,
    ),
    "gradient_variance": Paper(
        variance_claims.TITLE,
        variance_claims.INTRODUCTION,
        variance_claims.CLAIMS,
        variance_claims.EXPERIMENTS,
        "statistic",
    ),
}


def results_of(name: str, runs: Path) -> Any:
    """Return the results of an experiment, as far as it was run; None if it was not begun.

    Those of an experiment are `Results`, those of a study `Trajectories`, those of a grid of random
    features models the records of its finished runs.

    Args:
        name: "NAME:VARIANT".
        runs: The folder of the workdirs.

    Raises:
        ValueError: A workdir of another configuration.
    """
    folder = runs / name.replace(":", "-")
    if not (folder / "config.json").is_file():
        return None
    config = configurations.load(name).config
    different = differences(read_object(folder / "config.json"), configurations.to_json(config))
    if different:
        raise ValueError(
            f"{folder} must hold the runs of {name}. These differ: {', '.join(different)}. Move it "
            "away, or run the configuration again."
        )
    if isinstance(config, Study):
        measured = RecordFile(folder / "variances.jsonl").read()
        return Trajectories(config, measured) if measured else None
    records = RecordFile(folder / "records.jsonl").read()
    if isinstance(config, FeatureGrid):
        return records or None
    results = Results.of(records, config)
    return results if results.arms else None


def unfinished(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each grid of random features models of which runs are missing."""
    for name, results in found.items():
        config = configurations.load(name).config
        if isinstance(config, FeatureGrid) and len(results) < (count := len(config.runs())):
            yield f"**Not finished.** `{name}`: {len(results)} of {count} runs."


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argument_parser(NAME, __doc__)
    made.add_argument("paper", choices=PAPERS)
    made.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    made.add_argument("--write", type=Path, metavar="FILE", help="default: the terminal")
    made.add_argument(
        "--keep", action="store_true", help="rows of experiments that are not in RUNS stay in FILE"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status, 0.

    Raises:
        SystemExit: With status 2, for a workdir that does not fit, and for --keep without a page.
    """
    reader = parser()
    parsed = reader.parse_args(arguments)
    if parsed.keep and not (parsed.write and parsed.write.is_file()):
        reader.error(f"--keep needs a page that exists, by --write. Received: {parsed.write}.")
    paper = PAPERS[parsed.paper]
    try:
        every = {name: results_of(name, parsed.runs) for name in paper.experiments}
    except ValueError as error:
        reader.error(str(error))
    found = {name: results for name, results in every.items() if results is not None}
    introduction = "\n\n".join([paper.introduction, *unfinished(found)])
    kept = rows_on(parsed.write.read_text(encoding="utf-8")) if parsed.keep else {}
    text = markdown(paper.title, introduction, paper.claims, found, paper.readings, kept)
    if parsed.write is None:
        print(text, end="")
    else:
        parsed.write.parent.mkdir(parents=True, exist_ok=True)
        parsed.write.write_text(text, encoding="utf-8")
        print(f"{len(found)} of {len(every)} experiments: {parsed.write}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
