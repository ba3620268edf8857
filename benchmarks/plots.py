"""Plots as SVG, written by hand: nothing to install on a board, nothing to load in a browser."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 20, 46


@dataclass(frozen=True, slots=True)
class Series:
    """Points to draw.

    Attributes:
        name: for the key; points of a series without a line are named each by ``labels``.
        points: x and y.
        labels: beside the points.
        line: whether to join them.
        dots: whether to mark them.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = ()
    line: bool = True
    dots: bool = False


def plot(series: Sequence[Series], *, x_label: str, y_label: str, log_x: bool = False, from_zero: bool = False) -> str:
    """A plot with axes and a key.

    Args:
        series: at least one with at least one point.
        x_label: of the horizontal axis, with its unit.
        y_label: of the vertical axis, with its unit.
        log_x: whether the horizontal axis is logarithmic; values must be above 0 then.
        from_zero: whether the vertical axis begins at 0.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    x_ticks = _log_ticks(min(xs), max(xs)) if log_x else _ticks(min(xs), max(xs))
    y_ticks = _ticks(0.0 if from_zero else min(ys), max(ys))
    across = _scale(x_ticks[0], x_ticks[-1], _LEFT, _WIDTH - _RIGHT, log=log_x)
    down = _scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{_text(y_label)} over {_text(x_label)}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    ]
    for x in x_ticks:
        parts.append(f'<path d="M{across(x):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        parts.append(_label(across(x), _HEIGHT - _BOTTOM + 16, f"{x:g}", "middle"))
    for y in y_ticks:
        parts.append(f'<path d="M{_LEFT} {down(y):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_label(_LEFT - 6, down(y) + 4, f"{y:g}", "end"))
    parts.append(_label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 14 {middle:.0f})">{_label(14, middle, y_label, "middle")}</g>')
    for number, one in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across(x), down(y)) for x, y in one.points]
        if one.line:
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if one.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
        for (x, y), label in zip(places, one.labels, strict=False):
            parts.append(_label(x, y - 8, label, "middle"))
        if len(series) > 1:
            y = _HEIGHT - _BOTTOM - 14 - 17 * (len(series) - 1 - number)
            parts.append(f'<rect x="{_WIDTH - _RIGHT - 22}" y="{y - 5}" width="12" height="4" fill="{colour}"/>')
            parts.append(_label(_WIDTH - _RIGHT - 28, y, one.name, "end"))
    return "\n".join([*parts, "</svg>"])


def distribution(samples: Sequence[float], *, most: int = 400) -> list[tuple[float, float]]:
    """Points (sample, share of all that do not exceed it), in per cent, thinned out to about this many."""
    ordered = sorted(samples)
    step = max(1, len(ordered) // most)
    numbers = sorted({*range(0, len(ordered), step), len(ordered) - 1})
    return [(ordered[number], 100 * (number + 1) / len(ordered)) for number in numbers]


def _scale(low: float, high: float, start: float, end: float, *, log: bool = False) -> Callable[[float], float]:
    if log:
        low, high = math.log(low), math.log(high)
    return lambda value: start + ((math.log(value) if log else value) - low) / (high - low) * (end - start)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below the lowest to above the highest, some five of them."""
    extent = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(extent / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= extent / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from below the lowest to above the highest."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [round(factor * 10.0**power, 12) for power in powers for factor in (1, 2, 5)]
    first = max(number for number, step in enumerate(steps) if step <= low)
    last = min(number for number, step in enumerate(steps) if step >= high)
    return steps[first : max(last, first + 1) + 1]


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
