"""Axes of values over the steps of training."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter, MaxNLocator


def labelled(ax: Axes, label: str) -> Axes:
    """Label the axes of a value over the steps."""
    ax.set_xlabel("step")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return ax


def set_log_axis(ax: Axes) -> None:
    """Set a log axis with plain numbers at its ticks, 1.8 and not 1.8 x 10^0, where short."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low < 1e-3 or high >= 1e4:
        return
    # The decades are always labelled, what lies between them where there are few of them.
    between = _PlainLogFormatter(minor_thresholds=(1.5, 0.5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(between)


class _PlainLogFormatter(LogFormatter):
    """Labels the same ticks with plain numbers, 0.6 and not 6e-01."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""
