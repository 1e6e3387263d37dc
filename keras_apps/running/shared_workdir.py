"""Workdir of several workers: the chief's, and copies for the others, which are thrown away."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_apps.running.workdir import Workdir
from keras_apps.running.workers import Workers

NOT_COPIED = (".lock", "tensorboard", "figures")


class WorkdirCopy(Workdir):
    """A copy of the chief's folder, as it is now, to train along in.

    Args:
        path: The chief's folder.
        config: As in `Workdir`.
        fingerprint: As in `Workdir`.

    Raises:
        ValueError: Nothing there, another configuration, or other data.
    """

    def __init__(
        self, path: Path, config: Mapping[str, Any], fingerprint: str | None = None
    ) -> None:
        if not (path / "config.json").exists():
            raise ValueError(_not_shared(path))
        self._folder = tempfile.TemporaryDirectory(prefix="worker-")
        ignored = shutil.ignore_patterns(*NOT_COPIED)
        shutil.copytree(path, self._folder.name, ignore=ignored, dirs_exist_ok=True)
        super().__init__(self._folder.name, config, fingerprint)

    def close(self) -> None:
        """Throw the copy away."""
        super().close()
        self._folder.cleanup()


def open_workdir(
    path: Path, config: Mapping[str, Any], workers: Workers, fingerprint: str | None = None
) -> Workdir:
    """Return the folder of an experiment; on all workers but the chief, a copy of it.

    Args:
        path: The folder, which all workers read.
        config: The configuration, JSON-plain.
        workers: Those that train.
        fingerprint: As in `Workdir`.

    Raises:
        ValueError, RuntimeError, OSError: As `Workdir` has them; on all workers, if on one.
    """
    with workers.naming_the_lost():
        opened = _in_turn(workers, workers.is_chief, lambda: Workdir(path, config, fingerprint))
        copied = _in_turn(
            workers, not workers.is_chief, lambda: WorkdirCopy(path, config, fingerprint)
        )
        workdir = copied if opened is None else opened
        if not workers.same(_mark(workdir)):
            raise ValueError(_not_shared(path))
    return workdir


def _in_turn(workers: Workers, mine: bool, action: Callable[[], Workdir]) -> Any:
    """Act where it is this worker's turn, while the others wait; fail on all, if on one."""
    result, failure = None, None
    if mine:
        try:
            result = action()
        except (ValueError, RuntimeError, OSError) as error:
            failure = error
    failed = workers.any(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise RuntimeError(
            "All workers must be able to use the `--workdir`, and another one is not. What it "
            "printed says why."
        )
    return result


def _mark(workdir: Workdir) -> int:
    """Return a number that tells how far an experiment has come."""
    names = sorted(str(p.relative_to(workdir.path)) for p in workdir.path.glob("checkpoints/*/*"))
    digest = hashlib.sha256("\n".join(names).encode())
    if workdir.records.path.exists():
        digest.update(workdir.records.path.read_bytes())
    return int(digest.hexdigest()[:6], 16)  # of which float64 holds the square


def _not_shared(path: Path) -> str:
    return (
        "`--workdir` must be a folder that all workers read. Received: "
        f"--workdir {path}, which does not hold on this worker what it holds on another. Choose a "
        "folder on a file system that they share."
    )
