"""Numbers as a reader wants them: few digits, a unit, and how sure they are."""

from __future__ import annotations

import math

from tf_gradvar.diagnosis.noise import Estimate
from tf_gradvar.pages import PERCENT

SQUARED = "squared gradient"  # the unit of signal and noise


def number(value: float) -> str:
    """Return three digits of a number, with commas between thousands.

    Example:
        >>> number(12345.6), number(0.012345), number(4.2e-9), number(3.0)
        ('12,300', '0.0123', '4.2e-09', '3')
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "infinite"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        digits = 2 - math.floor(math.log10(abs(value))) if value else 0
        text = f"{round(value, digits):,.{max(digits, 0)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def count(value: int, word: str) -> str:
    """Return a number and its word, in the plural where there are several.

    Example:
        >>> count(1, "example"), count(1200, "example")
        ('1 example', '1,200 examples')
    """
    return f"{value:,} {word}{'' if value == 1 else 's'}"


def estimate(value: Estimate, unit: str) -> str:
    """Return a number, its standard error and its unit."""
    if math.isinf(value.value):
        return f"infinite (at least {number(value.low)} {unit})"
    if value.exact:
        return f"{number(value.value)} {unit}"
    error = "unknown" if math.isnan(value.standard_error) else number(value.standard_error)
    return f"{number(value.value)} ± {error} {unit}"


def interval(value: Estimate, unit: str) -> str:
    """Return the range of 95 %."""
    if value.exact:
        return f"exactly {number(value.value)} {unit}"
    if math.isinf(value.high):
        return f"at least {number(value.low)} {unit}"
    return f"from {number(value.low)} to {number(value.high)} {unit}"


def percent(share: float) -> str:
    """Return a share as a percentage.

    Example:
        >>> print(percent(0.1234).replace(PERCENT, " %"))
        12.3 %
    """
    return f"{number(100 * share)}{PERCENT}"


def size(bytes_: float) -> str:
    """Return an amount of memory.

    Example:
        >>> size(2_500_000), size(300)
        ('2.5 MB', '0.0003 MB')
    """
    return f"{number(bytes_ / 1e9)} GB" if bytes_ >= 1e9 else f"{number(bytes_ / 1e6)} MB"


def seconds(value: float) -> str:
    """Return a duration."""
    return f"{number(value)} s"
