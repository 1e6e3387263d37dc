"""Progress of an experiment on the terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Two progress bars on a terminal; elsewhere a line for each finished run."""

    def __init__(self, console: Console, runs: int):
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("all runs", total=runs)
        self._current = self._bars.add_task("", total=None)
        self._runs, self._done = runs, 0

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start_run(self, name: str, step: int, steps: int) -> None:
        """Show a run that starts, or continues, at a step."""
        self._bars.reset(self._current, total=steps, completed=step, description=name)

    def show_step(self, step: int) -> None:
        """Show how far the current run is."""
        self._bars.update(self._current, completed=step)

    def finish_run(self, name: str, text: str) -> None:
        """Count a finished run and show what came of it."""
        self._done += 1
        self._bars.update(self._all, completed=self._done)
        self.console.print(f"[{self._done}/{self._runs}] {name}: {text}", markup=False)
