"""Measurements as JSON lines: a file that survives `kill -9` and that any tool can read.

One record is one JSON object on one line. A line counts once its newline is on disk: a process
killed in the middle of a write leaves a torn last line, which readers drop and which the next
writer cuts off before it appends. Nothing else is ever rewritten, except by `truncate_after`.

JSON has no NaN and no infinity, and a run that diverges must still be recorded. Such numbers are
written as the strings "NaN", "Infinity" and "-Infinity" (as protobuf's JSON does) and are
numbers again when read.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

logger = logging.getLogger(__name__)


class RecordFile:
    """A JSONL file of records, to append to and to read.

    Args:
        path: The file. Its folder is made when the first record is appended; the file need not
            exist to be read (it then holds no records).

    Attributes:
        path: The file, a `pathlib.Path`.

    Raises:
        TypeError: In `append`, a value that JSON cannot hold.
        ValueError: In `check_writable`, a path that cannot be written; when it is read, a line
            that is no record.

    Example:
        >>> import tempfile, os
        >>> records = RecordFile(os.path.join(tempfile.mkdtemp(), "records.jsonl"))
        >>> records.append({"run": "sgd", "step": 1, "loss": 0.5})
        >>> records.append({"run": "sgd", "step": 2, "loss": float("nan")})
        >>> records.read()
        [{'run': 'sgd', 'step': 1, 'loss': 0.5}, {'run': 'sgd', 'step': 2, 'loss': nan}]
        >>> records.truncate_after(1, run="sgd")
        1
        >>> records.read()
        [{'run': 'sgd', 'step': 1, 'loss': 0.5}]

    Cost: one `write` a record, flushed to the operating system, so that a killed process loses
    nothing. A power failure may lose the last records.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._tail_checked = False

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record as one line.

        Args:
            record: String keys; values are JSON-plain (None, bool, int, float, str, and lists,
                tuples and dicts of them), NumPy scalars or arrays, or tensors of any backend.

        Raises:
            TypeError: A value or key that JSON cannot hold.
            OSError: The file cannot be written, as on a full disk. What was written of the line
                is cut off by the next call.
        """
        line = json.dumps(to_plain(record), allow_nan=False) + "\n"
        if not self._tail_checked:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_torn_line()
        self._tail_checked = False  # a write that fails halfway leaves a torn line
        with open(self.path, "ab") as file:
            file.write(line.encode("utf-8"))
        self._tail_checked = True

    def check_writable(self) -> None:
        """Raise unless records can be appended; the file is not changed, nor made.

        Raises:
            ValueError: The path is a folder, or cannot be written.
        """
        existed = self.path.exists()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab"):
                pass
        except OSError as error:
            raise ValueError(
                f"`path` must be a file that can be written. Received: {os.fspath(self.path)!r} "
                f"({error.strerror}). Choose another folder or name."
            ) from error
        if not existed:
            self.path.unlink()

    def read(self) -> list[dict[str, Any]]:
        """All complete records, in the order they were written.

        Returns:
            A list of dicts; empty if the file does not exist. A torn last line is left out, and
            the log says so.

        Raises:
            ValueError: A line before the last is not a JSON object.
        """
        if not self.path.exists():
            return []
        *lines, rest = self.path.read_bytes().split(b"\n")
        if rest:
            _log_torn_line(self.path, len(lines) + 1)
        return [_parse(line, self.path, number) for number, line in enumerate(lines, 1)]

    def truncate_after(self, step: int, **where: Any) -> int:
        """Remove the records of later steps, before a run continues from a checkpoint.

        The file is replaced in one move, so a kill leaves either the old or the new one.

        Args:
            step: Records whose `"step"` is greater are removed. Records without `"step"` stay.
            **where: Only records that hold these values are removed, for example `run="sgd"`.

        Returns:
            The number of records removed.
        """
        records = self.read()
        kept = [
            record
            for record in records
            if record.get("step", step) <= step
            or any(record.get(key) != value for key, value in where.items())
        ]
        if len(kept) < len(records):
            replacement = self.path.with_name(self.path.name + ".new")
            _write_lines(replacement, kept)
            os.replace(replacement, self.path)
        return len(records) - len(kept)

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            _log_torn_line(self.path, content.count(b"\n") + 1)
            os.truncate(self.path, complete)


def to_plain(value: Any) -> Any:
    """The same value in types that JSON holds.

    Args:
        value: None, bool, int, float, str, a NumPy scalar or array, a tensor, or lists, tuples
            and mappings of them.

    Returns:
        None, bool, int, float, str, list or dict. Floats that are not finite become the strings
        "NaN", "Infinity" and "-Infinity".

    Raises:
        TypeError: A value of another type, or a mapping with a key that is not a string.

    Example:
        >>> import numpy as np
        >>> to_plain({"loss": np.float32(0.5), "sizes": np.arange(3), "ratio": float("inf")})
        {'loss': 0.5, 'sizes': [0, 1, 2], 'ratio': 'Infinity'}

    Memory: arrays become lists of numbers of Python.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_not_finite(value)
    if isinstance(value, Mapping):
        return {_plain_key(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return to_plain(value.item())
    if hasattr(value, "__array__") and np.asarray(value).dtype.kind in "biufU":
        return to_plain(np.asarray(value).tolist())
    raise TypeError(
        f"A record holds numbers, strings, lists and dicts. Received {value!r} of type "
        f"{type(value).__name__}. Convert it before recording it."
    )


def from_plain(value: Any) -> Any:
    """Undo `to_plain` for the numbers that JSON does not have.

    Args:
        value: What `json.loads` returned.

    Returns:
        The same value with "NaN", "Infinity" and "-Infinity" as floats.

    Example:
        >>> from_plain({"loss": "NaN", "run": "sgd"})
        {'loss': nan, 'run': 'sgd'}

    Cost: a copy of lists and dicts.
    """
    if isinstance(value, dict):
        return {key: from_plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _plain_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(
            f"The keys of a record must be strings. Received the key {key!r} of type "
            f"{type(key).__name__}. Use `str({key!r})`."
        )
    return key


def _name_not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(
            f"Line {number} of {path} must be a JSON object. Received {line[:80]!r}. The file was "
            "changed by something else than `RecordFile`: mend or remove that line."
        )
    return from_plain(record)


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(to_plain(record), allow_nan=False) + "\n")


def _log_torn_line(path: Path, number: int) -> None:
    logger.warning(
        "Line %d of %s is torn: the process that wrote it was killed. It is dropped.", number, path
    )
