"""Pictures of the report as inline SVG: intervals and curves. Colours come from the style, so both themes work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

WIDTH: Final = 480
ROW_HEIGHT: Final = 26
LABEL_WIDTH: Final = 170
VALUE_WIDTH: Final = 60
CURVE_HEIGHT: Final = 180
MARGIN: Final = 44


def draw_intervals(rows: Sequence[tuple[str, float, tuple[float, float]]], *, zero: bool = False) -> str:
    """Draw one line a row: a label, a bar over the interval, a dot at the value, the value in digits.

    Args:
        rows: Label, value, (lower, upper).
        zero: Draw the line of no difference.
    """
    numbers = [number for _, value, interval in rows for number in (value, *interval)] + ([0.0] if zero else [])
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0
    low, high = low - 0.05 * span, high + 0.05 * span

    def place(number: float) -> float:
        return LABEL_WIDTH + (number - low) / (high - low) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH)

    height = ROW_HEIGHT * len(rows) + 8
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="values with intervals">']
    if zero:
        x = place(0.0)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height - 2}"/>')
    for index, (label, value, interval) in enumerate(rows):
        y = ROW_HEIGHT * index + ROW_HEIGHT / 2 + 4
        left, right = place(interval[0]), place(interval[1])
        parts.append(f'<text x="0" y="{y + 4:.1f}">{escape(label)}</text>')
        parts.append(f'<line class="bar" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<circle class="dot" cx="{place(value):.1f}" cy="{y:.1f}" r="4.5"/>')
        parts.append(f'<text class="end" x="{WIDTH}" y="{y + 4:.1f}">{format_number(value, is_signed=zero)}</text>')
    return "".join([*parts, "</svg>"])


def draw_curves(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Draw figures over steps, with the range of both axes in digits; empty where there are fewer than two points.

    Args:
        lines: One mapping a step, as ``metrics.jsonl`` has them.
        names: Figures to draw, in the order of the style's line classes.
    """
    series = {name: _read_series(lines, name) for name in names}
    series = {name: points for name, points in series.items() if points}
    points = [point for found in series.values() for point in found]
    if len(points) < 2:
        return ""
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)

    def place(point: tuple[float, float]) -> str:
        x = MARGIN + (point[0] - left) / ((right - left) or 1.0) * (WIDTH - MARGIN - 8)
        y = 8 + (high - point[1]) / ((high - low) or 1.0) * (CURVE_HEIGHT - 36)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {CURVE_HEIGHT}" role="img" aria-label="curves over steps">']
    for index, (name, found) in enumerate(series.items()):
        parts.append(f'<polyline class="curve c{index}" points="{" ".join(place(point) for point in found)}"/>')
        parts += [f'<circle class="c{index}" r="2.5" cx="{p[0]}" cy="{p[1]}"/>' for p in _mark(found, place)]
        parts.append(f'<text class="c{index}" x="{MARGIN + 60 * index}" y="{CURVE_HEIGHT - 2}">{escape(name)}</text>')
    parts.append(f'<text x="0" y="14">{format_number(high)}</text>')
    parts.append(f'<text x="0" y="{CURVE_HEIGHT - 30}">{format_number(low)}</text>')
    parts.append(f'<text class="end" x="{WIDTH}" y="{CURVE_HEIGHT - 2}">steps {left:.0f} to {right:.0f}</text>')
    return "".join([*parts, "</svg>"])


def _mark(found: Sequence[tuple[float, float]], place: Any) -> list[list[str]]:  # noqa: ANN401  a function of a point
    """Return the places of few points, so that a curve of three validations shows where they were."""
    return [place(point).split(",") for point in found] if len(found) <= 20 else []


def _read_series(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    found = []
    for line in lines:
        step, value = line.get("step"), line.get(name)
        if isinstance(step, int) and isinstance(value, int | float) and math.isfinite(value):
            found.append((float(step), float(value)))
    return found


def format_number(value: float, *, is_signed: bool = False) -> str:
    """Write a number with three or four digits that matter."""
    sign = "+" if is_signed else ""
    return format(value, f"{sign}.3f" if abs(value) < 1000 else f"{sign},.0f")
