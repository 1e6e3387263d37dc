"""What a sweep varies in a configuration, and by what its trials are compared."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

RANGE = ".."
LOG = "log:"
SEARCHES = ("grid", "random", "tpe")

# Key of a field -> its value, as both stand after `--set`.
Point: TypeAlias = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Varied:
    """A field of the configuration and the values that are tried.

    Attributes:
        key: Its dotted name, as after `--set`.
        values: The values, as after `--set`; none for a range.
        low: The least number of a range.
        high: The largest one.
        scale: "log" for a range whose logarithm is drawn uniformly.
    """

    key: str
    values: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    scale: Literal["linear", "log"] = "linear"

    @property
    def is_range(self) -> bool:
        """Whether it is a range, from which numbers are drawn."""
        return not self.values

    @property
    def is_whole(self) -> bool:
        """Whether a range has whole numbers at its ends, and only such are drawn."""
        return self.is_range and self.low.is_integer() and self.high.is_integer()

    @property
    def ends(self) -> tuple[str, ...]:
        """What to check before anything runs: all values, or the ends of a range."""
        return self.values or (self.shown(self.low), self.shown(self.high))

    def shown(self, number: float) -> str:
        """Return a number of a range, as after `--set`."""
        return str(int(number)) if self.is_whole else f"{number:.6g}"

    @classmethod
    def parsed(cls, text: str) -> Varied:
        r"""Return what stands after `--over`.

        Args:
            text: "KEY=0.1,0.2", "KEY=8..64", "KEY=log:0.001..0.1", or for values with commas
                "KEY=[\"0,1\", \"2\"]".

        Raises:
            ValueError: Text of no such form, a value twice, or a range without a length.

        Example:
            >>> Varied.parsed("steps=200,400").values
            ('200', '400')
            >>> Varied.parsed("optimizers.SGD.learning_rates.1=log:0.01..1").high
            1.0
        """
        key, equals, written = (part.strip() for part in text.partition("="))
        if not (key and equals and written):
            raise ValueError(
                "`--over` must be KEY=VALUE,VALUE or KEY=LOW..HIGH. Received: --over "
                f"{text!r}. For example `--over group_size=8,16`."
            )
        if RANGE in written:
            return cls._parsed_range(key, written)
        values = _values(written, text)
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"`--over {key}` must have at least one value, and none twice. Received: "
                f"--over {text!r}."
            )
        return cls(key, values)

    @classmethod
    def _parsed_range(cls, key: str, written: str) -> Varied:
        scale: Literal["linear", "log"] = "log" if written.startswith(LOG) else "linear"
        try:
            low, high = map(float, written.removeprefix(LOG).split(RANGE))
        except ValueError:
            low = high = math.nan
        if not (-math.inf < low < high < math.inf) or (scale == "log" and low <= 0):
            raise ValueError(
                f"`--over {key}` must be a range LOW..HIGH of two numbers, the first one smaller, "
                f"and above 0 after {LOG!r}. Received: --over {key}={written}."
            )
        return cls(key, low=low, high=high, scale=scale)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The trials of one configuration.

    Attributes:
        over: The fields that are varied.
        search: "grid" tries every combination; "random" draws; "tpe" draws where the trials so far
            were good (the Tree-structured Parzen Estimator of Optuna).
        trials: How many are run; all combinations for a grid.
        choose: The final value by which trials are compared, the mean over the seeds.
        seed: Of the draws.
    """

    over: tuple[Varied, ...]
    search: Literal["grid", "random", "tpe"] = "grid"
    trials: int = 0
    choose: str = "training_loss"
    seed: int = 0

    @classmethod
    def of(
        cls, over: Sequence[str], search: str, trials: int | None, choose: str, seed: int
    ) -> Sweep:
        """Return the sweep of a command line.

        Raises:
            ValueError: Nothing to vary, a field twice, a grid with a range or a number of trials,
                or a search without one.
        """
        varied = tuple(Varied.parsed(text) for text in over)
        keys = [one.key for one in varied]
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(
                "`--over` must name at least one field, and none twice. Received: "
                f"{keys or 'no --over'}. For example `--over group_size=8,16`."
            )
        ranges = [one.key for one in varied if one.is_range]
        if search == "grid" and (ranges or trials is not None):
            received = f"ranges of {ranges}" if ranges else f"--trials {trials}"
            raise ValueError(
                "`--search grid` tries every combination: it takes values, no ranges, and no "
                f"`--trials`. Received: {received}. `--search random` and `tpe` take both."
            )
        if search != "grid" and (trials is None or trials < 1):
            raise ValueError(
                f"`--search {search}` needs `--trials N`, at least 1. Received: --trials {trials}."
            )
        if search == "grid":
            trials = math.prod(len(one.values) for one in varied)
        return cls(varied, search, trials or 0, choose, seed)  # type: ignore[arg-type]

    @property
    def largest_is_best(self) -> bool:
        """Whether a trial is better for a larger value: accuracies are."""
        return self.choose.endswith("accuracy")

    @property
    def worst(self) -> float:
        """What stands for a value that is not a number."""
        return -math.inf if self.largest_is_best else math.inf

    def grid(self) -> list[Point]:
        """Return every combination of the values, the last field changing fastest."""
        values = itertools.product(*(one.values for one in self.over))
        return [dict(zip((one.key for one in self.over), own, strict=True)) for own in values]

    def corners(self) -> list[Point]:
        """Return points in which every value, and both ends of every range, occur."""
        count = max(len(one.ends) for one in self.over)
        return [
            {one.key: one.ends[min(i, len(one.ends) - 1)] for one in self.over}
            for i in range(count)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-plain values, to be stored and compared."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for one in plain["over"]:
            if one["values"]:
                del one["low"], one["high"]  # NaN, which is not equal to itself
        return plain


def assignments(point: Mapping[str, str]) -> list[str]:
    """Return what stands after `--set` for a point."""
    return [f"{key}={value}" for key, value in point.items()]


def number_in(text: str) -> float | None:
    """Return the number that a value stands for; None for a word."""
    try:
        return float(text)
    except ValueError:
        return None


def _values(written: str, text: str) -> tuple[str, ...]:
    if not written.startswith("["):
        return tuple(part.strip() for part in written.split(",") if part.strip())
    try:
        found = json.loads(written)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise ValueError(
            "Values of `--over` with commas in them must be a JSON list of strings. Received: "
            f'--over {text!r}. For example `--over \'seeds=["0,1", "2,3"]\'`.'
        )
    return tuple(found)
