"""Folder of an experiment: what was asked for, what was measured, and how far it got."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tf_gradvar.records import RecordFile

if os.name == "posix":
    import fcntl

logger = logging.getLogger(__name__)


class WorkdirError(RuntimeError):
    """A file of a workdir that an app cannot go on with; the message says what to do."""


class Workdir:
    """The files of one experiment.

        config.json       the configuration; another one is refused
        data.json         the fingerprint of the data; others are refused
        devices.json      what it was last trained on
        records.jsonl     every evaluation of a run, and a record for each finished run
        variances.jsonl   the gradient variances along a trajectory
        clusters.json     examples of the clusters of gradients at its last clustering
        checkpoints/      the last two of unfinished runs; the final weights of finished ones
        tensorboard/      the evaluations once more, for TensorBoard if it is installed
        figures/          pictures, each with its numbers as CSV
        summary.csv       the table of the runs
        report.html       all of it on one page

    Args:
        path: The folder; made if it does not exist.
        config: The configuration, JSON-plain.
        fingerprint: Of the data. Defaults to None, for data that follow from the configuration.

    Raises:
        ValueError: The folder holds an experiment with another configuration or other data, or a
            file that cannot be read.
        RuntimeError: Another process works in the folder.
        OSError: The folder cannot be made or written to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        fingerprint: str | None = None,
    ):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_writable()
        self._lock = self._take_lock()
        self.records = RecordFile(self.path / "records.jsonl")
        self.variances = RecordFile(self.path / "variances.jsonl")
        self.members = self.path / "clusters.json"
        self.figures = self.path / "figures"
        try:
            self._check_config(dict(config))
            self._check_data(fingerprint)
            self.records.read()
            self.variances.read()
            self.figures.mkdir(exist_ok=True)
        except BaseException:
            self.close()
            raise

    def checkpoints(self, run: str) -> Path:
        """Return the folder of a run's checkpoints, or of its final weights once it is finished."""
        return self.path / "checkpoints" / run

    def tensorboard(self, run: str) -> Path:
        """Return the folder of a run's TensorBoard events."""
        return self.path / "tensorboard" / run

    def finished(self) -> dict[str, dict[str, Any]]:
        """Return the records of the finished runs, by the run's name."""
        return {
            record["run"]: record for record in self.records.read() if record["kind"] == "finished"
        }

    def devices(self) -> dict[str, Any] | None:
        """Return what the experiment was last trained on; None if it never was.

        Raises:
            ValueError: A damaged file.
        """
        path = self.path / "devices.json"
        return read_object(path) if path.exists() else None

    def note_devices(self, facts: Mapping[str, Any]) -> None:
        """Write down what the experiment is trained on now: JSON-plain values by name."""
        replace_text(self.path / "devices.json", json.dumps(facts, indent=2) + "\n")

    def close(self) -> None:
        """Let another process work in the folder."""
        self._lock.close()

    def _check_writable(self) -> None:
        """Look at all that is in the folder now, not when it is written to hours later."""
        for path in (self.path, *self.path.iterdir()):
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def _take_lock(self) -> TextIO:
        # The operating system releases the lock with the process, however that ends.
        lock = open(self.path / ".lock", "w")  # noqa: SIM115
        if os.name == "posix":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise RuntimeError(
                    f"The workdir {self.path} must be used by one process at a time, and another "
                    "one is working in it. Wait for it, or choose another `--workdir`."
                ) from None
            except OSError as error:  # Some network file systems have no locks.
                logger.warning(
                    "%s cannot be locked (%s). See to it that no other process works in it.",
                    self.path,
                    error.strerror,
                )
        return lock

    def _check_data(self, fingerprint: str | None) -> None:
        if fingerprint is None:
            return
        before = fingerprint_in(self.path)
        if before is None:
            text = json.dumps({"fingerprint": fingerprint}, indent=2) + "\n"
            replace_text(self.path / "data.json", text)
        elif before != fingerprint:
            raise ValueError(
                f"The workdir {self.path} holds an experiment with other data, whose fingerprint "
                f"is {before}. Received: data with the fingerprint {fingerprint}. Bring back the "
                "data that it was begun with, or choose another `--workdir`."
            )

    def _check_config(self, config: dict[str, Any]) -> None:
        path = self.path / "config.json"
        if not path.exists():
            replace_text(path, json.dumps(config, indent=2) + "\n")
            return
        found = differences(read_object(path), config)
        if found:
            raise ValueError(
                f"The workdir {self.path} holds an experiment with another configuration; these "
                f"differ: {', '.join(found)}. Choose another `--workdir`, or delete this one."
            )


def fingerprint_in(path: Path) -> str | None:
    """Return the fingerprint of the data of the workdir with this path; None if it has none.

    Raises:
        ValueError: A damaged file.
    """
    file = path / "data.json"
    return read_object(file).get("fingerprint") if file.exists() else None


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole even after a power failure."""
    new = path.with_suffix(".new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the configuration in a file.

    Raises:
        ValueError: A damaged file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"The file {path} must hold the configuration of the experiment, a JSON object, and "
            "is damaged. Choose another `--workdir`; or, if the command is the one that the "
            "experiment was begun with, delete the file, and the same command continues."
        )
    return found


def differences(stored: Any, asked: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of the entries in which two JSON-plain values differ."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return [
            name
            for key in sorted({*stored, *asked})
            for name in differences(stored.get(key), asked.get(key), f"{prefix}{key}.")
        ]
    same_length = isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked)
    if same_length and any(isinstance(entry, dict) for entry in stored):
        return [
            name
            for index, pair in enumerate(zip(stored, asked, strict=True))
            for name in differences(*pair, f"{prefix}{_element_name(pair[0], index)}.")
        ]
    return [] if stored == asked else [prefix.rstrip(".")]


def _element_name(element: Any, index: int) -> str:
    return element.get("name", str(index)) if isinstance(element, dict) else str(index)
