"""The report of a diagnosis: numbers first, and the ways to read and to keep them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradvar.diagnosis.noise import GradientNoise, LayerNoise
from tf_gradvar.diagnosis.options import Apart, Option
from tf_gradvar.diagnosis.who import Who
from tf_gradvar.records import to_plain


@dataclass(frozen=True)
class Setting:
    """What was measured, and how.

    Attributes:
        model: Name of the model.
        parameters: Its trainable weights.
        count: Examples in the data.
        examined: Of them, those whose gradients were looked at; of draws, with repeats.
        batch_size: B.
        budget: As given.
        time_limit: In seconds, or None.
        method: "exact", "subset" or "draws".
        reason: What limited it: "all", "budget" or "time".
        left_out: Numbers of the examples whose gradients are infinite or not a number.
        seconds: That it took.
        seconds_per_example: Of the pass; None for draws.
        notes: What the reader should know of the model and the data.
    """

    model: str
    parameters: int
    count: int
    examined: int
    batch_size: int
    budget: str
    time_limit: float | None
    method: str
    reason: str
    left_out: tuple[int, ...]
    seconds: float
    seconds_per_example: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What `tf_gradvar.diagnose` returns.

    Attributes:
        setting: What was measured, and how.
        noise: Signal and noise of the whole gradient.
        layers: The same by layer, in the order of the model.
        who: Who carries the noise; None where batches were drawn.
        options: What would help, the largest gain first.
        apart: What steps of one group alone would vary.
        best: The first option that is worth its cost, or None.
        groups: Name of a grouping -> the group of each example, int64 `[N]`: "class" and the
            columns of the metadata.
        images: PNG files of the examples that the page shows, by their numbers.
        inputs: The first inputs of the examples that the page shows, where these are rows.
    """

    setting: Setting
    noise: GradientNoise
    layers: tuple[LayerNoise, ...]
    who: Who | None = field(repr=False)
    options: tuple[Option, ...]
    apart: tuple[Apart, ...]
    best: Option | None
    groups: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    images: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    inputs: Mapping[int, tuple[float, ...]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        from tf_gradvar.diagnosis.words import plain_text

        return plain_text(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one HTML page with nothing outside it.

        Args:
            path: Of the page, such as "noise.html"; folders that are missing are made.

        Returns:
            The path.
        """
        from tf_gradvar.diagnosis.page_of_report import page_of

        return _write(path, page_of(self))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return all numbers as JSON, without the tables of single examples.

        Args:
            path: A file to write it to, too. Defaults to none.
        """
        plain = {
            name: _plain(getattr(self, name))
            for name in ("setting", "noise", "layers", "who", "options", "apart", "best")
        }
        text = json.dumps(to_plain(plain), indent=1, allow_nan=False)
        if path is not None:
            _write(path, text + "\n")
        return text

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the scores of the examples that were looked at, a row each.

        Args:
            path: Of the file.

        Returns:
            The path.

        Raises:
            ValueError: A report from drawn batches, which has no scores of single examples.
        """
        if self.who is None:
            raise ValueError(
                "`to_csv` writes the scores of single examples, and this report was measured from "
                "drawn batches, in which no example has a gradient of its own. Use `to_json`, or "
                "diagnose with training=False."
            )
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.who.save_scores(path)
        return path


def _plain(value: Any) -> Any:
    """Return dataclasses as dicts, without arrays that have an entry for each example."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: _plain(v) for name, v in found.items() if not _is_table(name, v)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _is_table(name: str, value: Any) -> bool:
    return name == "scores" or (isinstance(value, np.ndarray) and name != "left_out")


def _write(path: str | os.PathLike[str], text: str) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
