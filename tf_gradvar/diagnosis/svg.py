"""Pictures of a report as SVG, without a drawing library."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

WIDTH = 380
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#BBBBBB"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_ROW, _BAR, _GAP = 38, 12, 8


def bars(rows: Sequence[tuple[str, Sequence[tuple[float, str]]]], legend: Sequence[str]) -> str:
    """Return horizontal bars: for each row a name and one bar with its text for each legend.

    Args:
        rows: Names, and (length from 0 up, text at its end) for each bar.
        legend: What the bars are, in their order.
    """
    largest = max((value for _, own in rows for value, _ in own), default=0.0) or 1.0
    height = 24 + sum(18 + (_BAR + 3) * len(own) + _GAP for _, own in rows)
    parts = [_legend(legend)]
    y = 24.0
    for name, own in rows:
        parts.append(_text(0, y + 12, _shortened(name, 58)))
        y += 18
        for place, (value, text) in enumerate(own):
            length = max(value, 0.0) / largest * (WIDTH - 90)
            parts.append(
                f'<rect x="0" y="{y:.1f}" width="{max(length, 0.5):.1f}" height="{_BAR}" '
                f'fill="{COLOURS[place]}"/>'
            )
            parts.append(_text(length + 5, y + _BAR - 2, text, small=True))
            y += _BAR + 3
        y += _GAP
    return _svg(height, parts)


def ranges(rows: Sequence[tuple[str, float, float, float, str]], mark: float, axis: str) -> str:
    """Return points with their ranges on one axis from 0.

    Args:
        rows: (name, value, low, high, text) each.
        mark: Where a vertical line stands.
        axis: What the axis shows.
    """
    finite = [v for row in rows for v in (row[1], row[3]) if math.isfinite(v)]
    largest = max([mark * 1.1, *finite])
    scale = (WIDTH - 10) / largest
    height = 30 + _ROW * len(rows)
    parts = [
        _text(0, 12, axis, small=True),
        f'<line x1="{mark * scale:.1f}" x2="{mark * scale:.1f}" y1="20" y2="{height}" '
        f'stroke="{GREY}" stroke-dasharray="4 3"/>',
    ]
    for place, (name, value, low, high, text) in enumerate(rows):
        y = 34 + _ROW * place
        parts.append(_text(0, y, _shortened(f"{name}: {text}", 62)))
        ends = [min(max(v, 0.0), largest) * scale for v in (low, high)]
        parts.append(
            f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y + 11}" y2="{y + 11}" '
            f'stroke="{BLUE}" stroke-width="3"/>'
        )
        if math.isfinite(value):
            parts.append(
                f'<circle cx="{min(value, largest) * scale:.1f}" cy="{y + 11}" r="5" '
                f'fill="{ORANGE}"/>'
            )
    return _svg(height, parts)


def lines(
    steps: Sequence[float],
    curves: Sequence[tuple[str, Sequence[float]]],
    axis: str,
    *,
    logarithmic: bool,
    horizontal: str = "epoch",
) -> str:
    """Return curves over training; values that an axis cannot show are left out.

    Args:
        steps: Where along.
        curves: Name and values each.
        axis: What the vertical axis shows.
        logarithmic: Whether that axis is.
        horizontal: What the horizontal axis shows.
    """
    left, right, top, bottom = 46, WIDTH - 8, 32 + 15 * math.ceil(len(curves) / 2), 258
    shown = [
        v for _, own in curves for v in own if math.isfinite(v) and (v > 0 or not logarithmic)
    ] or [1.0]
    low, high = (min(shown), max(shown)) if logarithmic else (0.0, max(shown))
    change = math.log10 if logarithmic else float
    if low == high:
        low, high = (low / 2, high * 2) if logarithmic else (0.0, high or 1.0)
    first, last = min(steps), max(steps)

    def at(step: float, value: float) -> tuple[float, float]:
        along = 0.5 if last == first else (step - first) / (last - first)
        up = (change(value) - change(low)) / (change(high) - change(low))
        return left + along * (right - left), bottom - up * (bottom - top)

    parts = [_text(0, 12, axis, small=True), *_legend_rows([name for name, _ in curves])]
    for place in range(5):
        share = place / 4
        value = low * (high / low) ** share if logarithmic else low + share * (high - low)
        y = at(first, value)[1]
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(_text(left - 4, y + 3, f"{value:.3g}", small=True, anchor="end"))
    for place, (_, own) in enumerate(curves):
        points = [
            at(step, value)
            for step, value in zip(steps, own, strict=True)
            if math.isfinite(value) and (value > 0 or not logarithmic)
        ]
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    ticks = {first: "start", last: "end"} if last > first else {first: "middle"}
    for step, anchor in ticks.items():
        parts.append(_text(at(step, low)[0], bottom + 15, f"{step:g}", small=True, anchor=anchor))
    parts.append(_text((left + right) / 2, bottom + 15, horizontal, small=True, anchor="middle"))
    return _svg(bottom + 24, parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" '
        'font-family="system-ui, -apple-system, Segoe UI, Roboto, sans-serif">'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, *, small: bool = False, anchor: str = "start") -> str:
    size = 11 if small else 12.5
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222">'
        f"{html.escape(text)}</text>"
    )


def _legend(names: Sequence[str]) -> str:
    parts, x = [], 0.0
    for place, name in enumerate(names):
        parts.append(f'<rect x="{x:.0f}" y="3" width="10" height="10" fill="{COLOURS[place]}"/>')
        parts.append(_text(x + 14, 12, name, small=True))
        x += 26 + 5.8 * len(name)
    return "".join(parts)


def _legend_rows(names: Sequence[str]) -> list[str]:
    """Return a legend of two columns, below the title of the axis."""
    parts = []
    for place, name in enumerate(names):
        x, y = (place % 2) * WIDTH / 2, 20 + 15 * (place // 2)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, y + 9, _shortened(name, 28), small=True))
    return parts


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
