"""Work in several processes at once, each with its share of the cores."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from keras_apps.running.workdir import WorkdirError

THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")

T = TypeVar("T")
R = TypeVar("R")


def check_processes(processes: int) -> None:
    """Refuse more processes than cores, and fewer than one.

    Raises:
        ValueError: Such a number.
    """
    cores = os.cpu_count() or 1
    if not 1 <= processes <= cores:
        raise ValueError(
            f"`--processes` must be from 1 to the number of cores, {cores}. Received: "
            f"--processes {processes}."
        )


def environment_of(processes: int) -> dict[str, str]:
    """Return the environment of one of several processes, which gets its share of the cores."""
    if processes == 1:
        return dict(os.environ)
    share = str(max(1, (os.cpu_count() or 1) // processes))
    return dict.fromkeys(THREADS, share) | dict(os.environ)


def side_by_side(
    function: Callable[[T], R], tasks: Iterable[T], processes: int, stopped: Callable[[], bool]
) -> Iterator[R]:
    """Yield the results of a function of each task, as they come.

    Args:
        function: What to do. With several processes it must be one that `pickle` can name.
        tasks: Its arguments.
        processes: How many work at once; 1: this one.
        stopped: Whether to begin no further task.

    Raises:
        WorkdirError: A process was killed.
    """
    if processes == 1:
        yield from map(function, itertools.takewhile(lambda _: not stopped(), tasks))
        return
    waiting = iter(tasks)
    with _threads(processes), _pool(processes) as pool:
        working: set[Future[R]] = set()
        while True:
            if not stopped():
                for task in itertools.islice(waiting, processes - len(working)):
                    working.add(pool.submit(function, task))
            if not working:
                return
            done, working = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                yield _result(future)


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkdirError(
            "One of the processes was killed, perhaps for want of memory. The same command goes on "
            "with what is missing; with fewer `--processes` it needs less memory."
        ) from error


def _pool(processes: int) -> ProcessPoolExecutor:
    # Ctrl-C reaches all processes of a terminal; only the first one minds it.
    return ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )


@contextlib.contextmanager
def _threads(processes: int) -> Iterator[None]:
    """Let processes that are started inside find their share of the cores."""
    before = dict(os.environ)
    os.environ.update(environment_of(processes))
    try:
        yield
    finally:
        for name in THREADS:
            if name not in before:
                os.environ.pop(name, None)
