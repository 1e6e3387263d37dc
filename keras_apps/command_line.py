"""Frame of the commands: options, configurations, the workdir, faults, Ctrl-C, the report."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from keras_apps.argument_parser import argument_parser
from keras_apps.experiments.training_problem import Problem
from keras_apps.reporting import terminal
from keras_apps.running import configurations, faults
from keras_apps.running.configurations import Loaded
from keras_apps.running.devices import Devices
from keras_apps.running.shared_workdir import open_workdir
from keras_apps.running.stopping import INTERRUPTED, Interruption
from keras_apps.running.workdir import Workdir, WorkdirError
from tf_gradvar.pages import Report, page
from tf_gradvar.training.preemption import LostWorkerError

# The status after a fault outside the program.
FAILED = 1


@dataclasses.dataclass(frozen=True)
class Task:
    """What an app works on.

    Attributes:
        loaded: The configuration, as it was asked for.
        problem: Its problem, in memory.
        workdir: Its folder.
        console: Where to show progress and results.
        interruption: Tells when to stop.
        options: What was said with the app's own options.
        devices: What to train on.
    """

    loaded: Loaded
    problem: Problem
    workdir: Workdir
    console: Console
    interruption: Interruption
    options: argparse.Namespace
    devices: Devices


@dataclasses.dataclass(frozen=True)
class App:
    """A program that runs configurations of one kind.

    Attributes:
        kind: The dataclass of its configurations; its `command` is the name of the module.
        text: The module's docstring: what it does, an empty line, and commands.
        prepare: Builds the problem of a configuration and refuses what cannot be run, on the
            devices.
        run: Does the work; returns the report, or None after an interruption and on a worker that
            is not the chief.
        adapt: Makes a configuration of this kind of one that is not. Defaults to leaving it.
        add_options: Adds options of this app alone to the command line. Defaults to none.
        devices: Starts what the options ask for. Defaults to one device.
        check: Refuses options that do not go together, or not with the configuration.
        command: The name of the module, if it is not the `command` of `kind`.
    """

    kind: type[Any]
    text: str
    prepare: Callable[[Any, Devices], Problem]
    run: Callable[[Task], Report | None]
    adapt: Callable[[Any], Any] = lambda config: config
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    devices: Callable[[argparse.Namespace], Devices] = lambda options: Devices()
    check: Callable[[Loaded, argparse.Namespace], None] = lambda loaded, options: None
    command: str = ""

    @property
    def name(self) -> str:
        """What stands after "python -m"."""
        name: str = self.command or self.kind.command
        return name

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
            for name in configurations.names(self.kind):
                first_line = configurations.load(name).text.splitlines()[0]
                console.print(f"[bold]{name}[/bold]  {first_line}")
            return 0
        if parsed.config is None:
            parser.error("`--config` is needed. `--list` shows the configurations.")
        folder = parsed.workdir or _default_workdir(parsed.config)
        try:
            loaded = self._load(parsed.config, parsed.set)
            self.check(loaded, parsed)
            devices = self.devices(parsed)
            problem = self.prepare(loaded.config, devices)
            config = configurations.to_json(loaded.config)
            workdir = open_workdir(folder, config, devices.workers, problem.fingerprint)
        except (ValueError, TypeError, RuntimeError, ImportError) as error:
            parser.error(str(error))
        except OSError as error:
            return self._fail(faults.sentence(error, folder))
        if not devices.workers.is_chief:
            console = Console(quiet=True)
        try:
            with devices.workers.naming_the_lost(), Interruption() as interruption:
                task = Task(loaded, problem, workdir, console, interruption, parsed, devices)
                return self._run(task)
        except (WorkdirError, LostWorkerError) as error:
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

    def _load(self, name: str, changes: Sequence[str]) -> Loaded:
        loaded = configurations.load(name, changes)
        config = self.adapt(loaded.config)
        if not isinstance(config, self.kind):
            received = type(config).__name__
            other = getattr(config, "command", None)
            raise ValueError(
                f"`--config` of {self.name} must be one of {configurations.names(self.kind)}, or a "
                f"file whose functions return `{self.kind.__name__}`. Received: --config {name}, "
                f"of type `{received}`."
                + (f" Use `python -m {other} --config {name}`." if other else "")
            )
        return dataclasses.replace(loaded, config=config)

    def _fail(self, message: str) -> int:
        print(f"python -m {self.name}: error: {message}", file=sys.stderr)
        return FAILED

    def _run(self, task: Task) -> int:
        loaded, folder = task.loaded, task.workdir.path
        task.console.print(f"[bold]{loaded.title}[/bold]  ({loaded.name}, in {folder})")
        report = self.run(task)
        if report is not None:
            path = folder / "report.html"
            path.write_text(page(report), "utf-8")
            terminal.show(report, path, task.console)
        task.devices.workers.wait()  # the strategy ends with the first of them
        if report is None and task.interruption.requested:
            task.console.print("Stopped. The same command continues.")
            return INTERRUPTED
        return 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argument_parser(self.name, self.text)
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
        self.add_options(parser)
        return parser


def _default_workdir(config: str) -> Path:
    return Path("runs") / Path(config).name.replace(":", "-").removesuffix(".py")
