"""Progress of a diagnosis on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tf_gradvar.diagnosis.examples_seen import Progress as Shown


@contextmanager
def bar(verbose: bool) -> Iterator[Shown]:
    """Show a bar on a terminal while examples are looked at, or batches drawn."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    shown = verbose and console.is_terminal
    with Progress(*columns, console=console, disable=not shown) as bars:
        task = bars.add_task("getting ready", total=None)

        def show(done: int, total: int) -> None:
            text = "looking at gradients" if done < total else "clustering and testing"
            bars.update(task, completed=done, total=total, description=text)

        yield show
