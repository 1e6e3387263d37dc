"""Limits of a diagnosis: how many examples it may look at, and how long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tf_gradvar.arguments import check_choice, check_number

# The most examples that are looked at.
BUDGETS: dict[str, float] = {"economy": 2_000, "business": 20_000, "full": math.inf}
# Estimates that are drawn, where examples have no gradients of their own.
DRAWS = {"economy": 20, "business": 60, "full": 200}
# Of the time that is left, the rest being for clustering, tests and the page.
SHARE_OF_TIME = 0.3
FEWEST = 64


class Clock:
    """The time that has passed, and the time that is left.

    Args:
        limit: Seconds; None: no limit.
        now: Tells the time, in seconds.
    """

    def __init__(self, limit: float | None, now: Callable[[], float] = time.perf_counter):
        self.limit = limit
        self._now, self._start = now, now()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start

    @property
    def is_short(self) -> bool:
        """Whether less than a third of the time is left."""
        return self.limit is not None and 3.0 * self.left < self.limit

    @property
    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return math.inf if self.limit is None else self.limit - self.elapsed


@dataclass(frozen=True)
class Choice:
    """How many examples are looked at, and why.

    Attributes:
        count: Of the examples, those that are looked at.
        reason: "all", "budget" or "time".
    """

    count: int
    reason: str


def check_limits(budget: Any, time_limit: Any) -> None:
    """Raise unless the budget is known and the limit a positive number of seconds.

    Raises:
        ValueError: Another budget, a limit that is not above 0.
    """
    check_choice("budget", budget, BUDGETS)
    if time_limit is not None:
        check_number("time_limit", time_limit, 0, math.inf, low_open=True)


def choose(budget: str, total: int, seconds_each: float, seconds_left: float) -> Choice:
    """Return how many of the examples to look at.

    Args:
        budget: A key of `BUDGETS`.
        total: N.
        seconds_each: Measured on a first piece, for one example.
        seconds_left: Until the time limit.

    Example:
        >>> choose("full", 60_000, 1e-3, 25.0)
        Choice(count=7500, reason='time')
        >>> choose("business", 60_000, 1e-3, 600.0)
        Choice(count=20000, reason='budget')
    """
    allowed = min(BUDGETS[budget], total)
    affordable = max(SHARE_OF_TIME * seconds_left, 0.0) / max(seconds_each, 1e-12)
    if affordable < allowed:
        return Choice(int(affordable), "time")
    return Choice(int(allowed), "all" if allowed == total else "budget")


def too_short(limit: float, elapsed: float) -> ValueError:
    """Return the error for a limit in which nothing can be measured."""
    return ValueError(
        f"`time_limit` must leave time to look at {FEWEST} examples or more. Getting ready alone "
        f"took {elapsed:.1f} s here. Received: time_limit={limit:g} s. Allow at least "
        f"{math.ceil(2 * elapsed + 5)} s, or leave it out."
    )
