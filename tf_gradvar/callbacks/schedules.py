"""Schedules: functions from a step to whether it is due.

All callbacks take one as `every`, or a number of steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from tf_gradvar.arguments import check_count, check_number

Schedule = Callable[[int], bool]


def schedule_of(name: str, given: int | Schedule, start: int | None = None) -> Schedule:
    """Return a schedule that was given as such, or as the steps from one time to the next.

    Args:
        name: The argument, for the message.
        given: A function step -> bool, or an integer.
        start: The first step that is due; a function is not asked before it. Defaults to None:
            that is up to a function, and the first multiple of an integer.

    Raises:
        ValueError: An integer below 1.

    Example:
        >>> [step for step in range(10) if schedule_of("every", 4, start=1)(step)]
        [1, 5, 9]
    """
    if callable(given):
        return given if start is None else lambda step: step >= start and bool(given(step))
    period = check_count(name, given, "the steps from one time to the next, or a function")
    first = period if start is None else start
    return lambda step: step >= first and (step - first) % period == 0


def old_schedules(**given: Any) -> list[Schedule]:
    """Return the schedules that were given by the names of version 0.1, with a warning.

    Args:
        **given: `every_steps`, `schedule` and `at_steps` as far as a callback has them; None for
            what was not given.

    Warns:
        DeprecationWarning: For each of them, at the line that makes the callback.

    Raises:
        ValueError: What `schedule_of` and `at` refuse.
    """
    found = []
    for name, value in given.items():
        if value is None:
            continue
        instead = "every=at(...)" if name == "at_steps" else "every=..."
        warnings.warn(
            f"`{name}` is deprecated since 0.2.0 and goes with 0.3.0. Use `{instead}`.",
            DeprecationWarning,
            stacklevel=3,
        )
        found.append(at(value) if name == "at_steps" else schedule_of(name, value))
    return found


def every(steps: int) -> Schedule:
    """Return a schedule that is due at every multiple of `steps`, not at step 0.

    Args:
        steps: At least 1.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: `steps` below 1.

    Example:
        >>> [step for step in range(10) if every(4)(step)]
        [4, 8]

    Cost: a division for each step.
    """
    return schedule_of("steps", steps)


def at(steps: Iterable[int]) -> Schedule:
    """Return a schedule that is due at the listed steps; step 0 is before the first one.

    Args:
        steps: Whole numbers from 0 up.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: No step, or a negative one.

    Example:
        >>> [step for step in range(10) if at([0, 3])(step)]
        [0, 3]

    Cost: a look into a set for each step.
    """
    listed = frozenset(int(step) for step in steps)
    if not listed or min(listed) < 0:
        raise ValueError(
            "`steps` must be at least one number of steps from 0 up. "
            f"Received: steps={sorted(listed)}."
        )
    return lambda step: step in listed


def log_spaced(per_decade: float = 10) -> Schedule:
    """Return a schedule that is due `per_decade` times while steps grow tenfold, from 1 on.

    Args:
        per_decade: How often, above 0. Defaults to 10; at small steps, all of them.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: `per_decade` not above 0.

    Example:
        >>> [step for step in range(101) if log_spaced(3)(step)]
        [1, 2, 5, 10, 22, 46, 100]

    Cost: a logarithm and three powers for each step.
    """
    rate = check_number("per_decade", per_decade, 0, float("inf"), low_open=True, high_open=True)

    def due(step: int) -> bool:
        if step < 1:
            return False
        # The step nearest to a power of 10^(1/rate); trying the neighbours spares logarithms
        # their rounding.
        place = round(math.log10(step) * rate)
        return any(round(10 ** (p / rate)) == step for p in (place - 1, place, place + 1))

    return due
