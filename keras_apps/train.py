"""Train with the Discover optimizers and the usual ones, and compare them.

    python -m keras_apps.train --config mnist5k_classes:demo --workdir runs/demo
    python -m keras_apps.train --config digits_classes --workdir runs/mine --set steps=400
    python -m keras_apps.train --list

The same command again continues where it was stopped. Results are in the workdir: report.html,
summary.csv, figures/, records.jsonl, tensorboard/.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from keras_apps import config as configs
from keras_apps import findings, optimizers, report, summary, tuning
from keras_apps.experiment import Experiment, Run
from keras_apps.problems import Problem
from keras_apps.progress import Display, Interruption
from keras_apps.runs import RunTrainer
from keras_apps.workdir import Workdir

# What a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name. Default: those of the process.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    console = Console()
    if parsed.list:
        _show_configs(console)
        return 0
    if parsed.config is None:
        _parser().error("`--config` is needed. `--list` shows the configurations.")
    try:
        loaded = configs.load(parsed.config, parsed.set)
        problem = loaded.config.problem.build()
        optimizers.check(loaded.config, problem.probabilities)
        folder = parsed.workdir or _default_workdir(parsed.config)
        workdir = Workdir(folder, configs.to_json(loaded.config))
    except (ValueError, TypeError, RuntimeError, ConnectionError) as error:
        _parser().error(str(error))
    try:
        finished = run_experiment(loaded, problem, workdir, console)
    finally:
        workdir.close()
    return 0 if finished else INTERRUPTED


def run_experiment(
    loaded: configs.Loaded, problem: Problem, workdir: Workdir, console: Console
) -> bool:
    """Train what is not yet finished, then write the table and the report.

    Args:
        loaded: the configuration, of an `Experiment`.
        problem: its problem, in memory.
        workdir: its folder.
        console: where to show progress and the table.

    Returns:
        Whether all runs are finished; False after an interruption.
    """
    experiment: Experiment = loaded.config
    console.print(f"[bold]{experiment.title}[/bold]  ({loaded.name}, in {workdir.path})")
    with Interruption() as interruption:
        if not _train_all(experiment, problem, workdir, console, interruption):
            console.print("Stopped, and saved where it stopped. The same command continues.")
            return False
    records = workdir.records.read()
    rows = summary.summarise(records, experiment)
    summary.write_csv(rows, workdir.path / "summary.csv")
    console.print(summary.rich_table(rows, experiment.title))
    for sentence in findings.of(rows, records, experiment):
        console.print(sentence, highlight=False, markup=False)
    page = report.write(loaded, problem.description, workdir)
    console.print(f"Report: {page}")
    return True


def _train_all(
    experiment: Experiment,
    problem: Problem,
    workdir: Workdir,
    console: Console,
    interruption: Interruption,
) -> bool:
    """Tune, then compare. Returns False if it was interrupted."""
    finished = workdir.finished()
    first = [run for run in experiment.tuning_runs() if run.name not in finished]
    compared = len(experiment.optimizers) * len(experiment.groups_per_batch) * len(experiment.seeds)
    left = compared - sum(not record["tunes"] for record in finished.values())
    if not first and not left:
        return True
    started = time.perf_counter()
    with Display(console, len(first) + left) as display:
        trainer = RunTrainer(experiment, problem, workdir, display, interruption)
        if not _train(first, trainer):
            return False
        rates = tuning.choose(workdir.records.read(), experiment)
        if not _train([r for r in experiment.runs(rates) if r.name not in finished], trainer):
            return False
    console.print(f"Trained {len(first) + left} runs in {time.perf_counter() - started:.0f} s.")
    return True


def _train(runs: Sequence[Run], trainer: RunTrainer) -> bool:
    return all(trainer.train(run) for run in runs)


def _show_configs(console: Console) -> None:
    for name in configs.names():
        console.print(f"[bold]{name}[/bold]  {configs.load(name).text.splitlines()[0]}")


def _default_workdir(config: str) -> Path:
    return Path("runs") / Path(config).name.replace(":", "-").removesuffix(".py")


def _parser() -> argparse.ArgumentParser:
    description, _, commands = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m keras_apps.train",
        description=description,
        epilog=commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="NAME[:VARIANT]", help="a configuration, or a file")
    parser.add_argument("--workdir", type=Path, help="folder of the results; default: runs/NAME")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the configuration, for example steps=400; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="show the configurations")
    return parser


if __name__ == "__main__":
    logging.getLogger("absl").setLevel(logging.ERROR)
    sys.exit(main())
