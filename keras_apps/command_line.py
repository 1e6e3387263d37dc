"""Common parts of the command lines: options, configurations, the workdir, faults, Ctrl-C."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from keras_apps import config as configs
from keras_apps import faults
from keras_apps.problems import Problem
from keras_apps.progress import Interruption
from keras_apps.workdir import Workdir, WorkdirError

# Exit statuses: a fault outside the program, and what a shell reports after Ctrl-C.
FAILED = 1
INTERRUPTED = 130


@dataclasses.dataclass(frozen=True)
class Task:
    """What an app works on.

    Attributes:
        loaded: The configuration, as it was asked for.
        problem: Its problem, in memory.
        workdir: Its folder.
        console: Where to show progress and results.
        interruption: Tells when to stop.
    """

    loaded: configs.Loaded
    problem: Problem
    workdir: Workdir
    console: Console
    interruption: Interruption

    def conclude(self, findings: Sequence[str], page: Path) -> None:
        """Show what was found, which for a smoke test is nothing, and where the page is.

        Args:
            findings: Sentences.
            page: The report.
        """
        for text in [*self.loaded.conclusions(findings), f"Report: {page}"]:
            # Sentences are broken between words; commands and paths must stay whole.
            whole = text.startswith(("python -m ", "Report: "))
            self.console.print(text, highlight=False, markup=False, soft_wrap=whole)


@dataclasses.dataclass(frozen=True)
class App:
    """A program that runs configurations of one kind.

    Attributes:
        name: Of the module, after "python -m ".
        text: Its docstring: what it does, an empty line, and commands.
        kind: The dataclass of its configurations.
        prepare: Builds the problem of a configuration and refuses what cannot be run.
        run: Does the work; returns whether it reached its end.
        adapt: Makes a configuration of this kind of one that is not. Defaults to
            leaving it.
    """

    name: str
    text: str
    kind: type
    prepare: Callable[[Any], Problem]
    run: Callable[[Task], bool]
    adapt: Callable[[Any], Any] = lambda config: config

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run the command line.

        Args:
            arguments: Words after the program's name. Defaults to those of the process.

        Returns:
            The exit status: 0; 130 after Ctrl-C; 1 where the machine is at fault (the disk is
            full, the workdir is read-only, the network is gone).

        Raises:
            SystemExit: With status 2, where the command line asks for something impossible.
        """
        parser = self._parser()
        parsed = parser.parse_args(arguments)
        console = Console()
        if parsed.list:
            for name in configs.names(self.kind):
                first_line = configs.load(name).text.splitlines()[0]
                console.print(f"[bold]{name}[/bold]  {first_line}")
            return 0
        if parsed.config is None:
            parser.error("`--config` is needed. `--list` shows the configurations.")
        folder = parsed.workdir or _default_workdir(parsed.config)
        try:
            loaded = self._load(parsed.config, parsed.set)
            problem = self.prepare(loaded.config)
            workdir = Workdir(folder, configs.to_json(loaded.config))
        except (ValueError, TypeError, RuntimeError, ImportError) as error:
            parser.error(str(error))
        except OSError as error:
            return self._fail(faults.sentence(error, folder))
        try:
            return self._run(loaded, problem, workdir, console)
        except WorkdirError as error:
            return self._fail(str(error))
        except OSError as error:
            return self._fail(faults.sentence(error, folder))
        finally:
            workdir.close()

    def start(self) -> NoReturn:
        """Run the command line as the whole process."""
        # These tell of the inside of TensorFlow; the user of an app can do nothing about it.
        for name in ("absl", "tensorflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        sys.exit(self.main())

    def _load(self, name: str, changes: Sequence[str]) -> configs.Loaded:
        loaded = configs.load(name, changes)
        config = self.adapt(loaded.config)
        if not isinstance(config, self.kind):
            received = type(config).__name__
            other = configs.APPS.get(received)
            raise ValueError(
                f"`--config` of {self.name} must be one of {configs.names(self.kind)}, or a file "
                f"whose functions return `{self.kind.__name__}`. Received {name!r}, of type "
                f"`{received}`." + (f" Use `python -m {other} --config {name}`." if other else "")
            )
        return dataclasses.replace(loaded, config=config)

    def _fail(self, message: str) -> int:
        print(f"python -m {self.name}: error: {message}", file=sys.stderr)
        return FAILED

    def _run(
        self, loaded: configs.Loaded, problem: Problem, workdir: Workdir, console: Console
    ) -> int:
        console.print(f"[bold]{loaded.title}[/bold]  ({loaded.name}, in {workdir.path})")
        with Interruption() as interruption:
            if self.run(Task(loaded, problem, workdir, console, interruption)):
                return 0
        console.print("Stopped. The same command continues.")
        return INTERRUPTED

    def _parser(self) -> argparse.ArgumentParser:
        description, _, commands = self.text.partition("\n\n")
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.name}",
            description=description,
            epilog=commands,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--config", metavar="NAME[:VARIANT]", help="a configuration, or a file")
        parser.add_argument(
            "--workdir", type=Path, help="folder of the results; default: runs/NAME"
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="change a field of the configuration, for example steps=400; may be repeated",
        )
        parser.add_argument("--list", action="store_true", help="show the configurations")
        return parser


def _default_workdir(config: str) -> Path:
    return Path("runs") / Path(config).name.replace(":", "-").removesuffix(".py")
