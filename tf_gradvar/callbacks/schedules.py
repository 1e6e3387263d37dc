"""When to measure: functions from a step to whether it is due."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tf_gradvar.arguments import check_count, check_number

Schedule = Callable[[int], bool]


def every(steps: int) -> Schedule:
    """Due at every multiple of `steps`, not at step 0.

    Args:
        steps: At least 1.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: `steps` below 1.

    Example:
        >>> [step for step in range(10) if every(4)(step)]
        [4, 8]
    """
    period = check_count("steps", steps, "the steps from one measurement to the next")
    return lambda step: step > 0 and step % period == 0


def at(steps: Iterable[int]) -> Schedule:
    """Due at the listed steps; step 0 is before the first one.

    Args:
        steps: Whole numbers from 0 up.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: No step, or a negative one.

    Example:
        >>> [step for step in range(10) if at([0, 3])(step)]
        [0, 3]
    """
    listed = frozenset(int(step) for step in steps)
    if not listed or min(listed) < 0:
        raise ValueError(
            f"`steps` must be at least one number of steps from 0 up. Received {sorted(listed)}."
        )
    return lambda step: step in listed


def log_spaced(per_decade: float = 10) -> Schedule:
    """Due at 1 and then ever more rarely: `per_decade` times while steps grow tenfold.

    Args:
        per_decade: How often, above 0. Defaults to 10; at small steps, all of them.

    Returns:
        A function step -> bool.

    Raises:
        ValueError: `per_decade` not above 0.

    Example:
        >>> [step for step in range(101) if log_spaced(3)(step)]
        [1, 2, 5, 10, 22, 46, 100]
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
