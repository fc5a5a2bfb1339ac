"""Plots as plain SVG: curves with a band, and bars with intervals. Colours follow the reader's light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

STYLE = """
svg { background: #fff; color: #1b1f24; font: 13px system-ui, sans-serif; }
text { fill: currentColor; } .small { font-size: 11px; opacity: .75; } .title { font-weight: 600; }
.grid { stroke: currentColor; opacity: .13; } .axis { stroke: currentColor; opacity: .5; }
.reference { stroke: currentColor; stroke-dasharray: 5 4; opacity: .6; }
.c0 { --c: #b3127c; } .c1 { --c: #1769aa; } .c2 { --c: #8a5a00; } .c3 { --c: #2b7a3d; } .c4 { --c: #6a4bb5; }
.line { fill: none; stroke: var(--c); stroke-width: 1.5; } .c0.line { stroke-width: 2.5; }
.dot, .name { fill: var(--c); } .band { fill: var(--c); opacity: .16; } .bar { fill: var(--c); opacity: .75; }
.whisker { stroke: currentColor; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  svg { background: #14171b; color: #e4e7ea; }
  .c0 { --c: #ff7ac6; } .c1 { --c: #6cb8ff; } .c2 { --c: #e8b24a; } .c3 { --c: #7bd58f; } .c4 { --c: #b9a2ff; }
}
"""
CHARACTER = 7.2  # average pixels per letter in the fonts above, to reserve space for names


class Bar(NamedTuple):
    """A bar and its interval; NaN for a missing value."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan


class _Axes(NamedTuple):
    """The plot area in pixels, and the ranges of values that it covers."""

    left: float
    right: float
    top: float
    bottom: float  # lower end, as y pixel
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel (x, y) of a pair of values; the middle of the area if all x are equal."""
        (first, last), (low, high) = self.x, self.y
        across = (self.left + self.right) / 2
        if last > first:
            across = self.left + (x - first) / (last - first) * (self.right - self.left)
        return across, self.top + (high - y) / (high - low) * (self.bottom - self.top)


def curves(
    title: str,
    x_title: str,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    reference: tuple[str, float] | None = None,
    note: str = "",
) -> str:
    """Lines over a common x axis.

    Args:
        title: text above the plot.
        x_title: text below the x axis.
        x: ascending values.
        lines: {name: one value per x}; NaN leaves a gap. The first line is drawn thickest.
        band: lower and upper limits around the first line.
        reference: name and value of a dashed horizontal line.
        note: small text at the bottom.

    Returns:
        The SVG file as text.
    """
    width, height = 760, 436
    values = [v for line in [*lines.values(), *(band or ())] for v in line] + ([reference[1]] if reference else [])
    ticks = nice_ticks(values)
    right = width - 20 - CHARACTER * max(len(n) for n in lines)
    axes = _Axes(60, right, 60, height - 74, (x[0], x[-1]), (min(ticks), max(ticks)))
    parts = [_text(axes.left, 24, title, "title"), *_grid(axes, ticks, x, x_title)]
    if reference:
        y = axes.at(x[0], reference[1])[1]
        parts.append(_line(axes.left, y, axes.right, y, "reference"))
    if band:
        edge = [*zip(x, band[1], strict=True), *reversed(list(zip(x, band[0], strict=True)))]
        ends = " ".join("{:.1f},{:.1f}".format(*axes.at(*p)) for p in edge if math.isfinite(p[1]))
        parts.append(f'<polygon class="c0 band" points="{ends}"/>')
    parts += _named_lines(axes, x, lines)
    if reference:  # its name is above the plot, where no line passes
        parts += [_line(axes.left, 38, axes.left + 30, 38, "reference")]
        parts += [_text(axes.left + 36, 42, reference[0], "small")]
    parts.append(_text(axes.left, height - 10, note, "small"))
    return _svg(title, width, height, parts)


def bars(title: str, rows: Sequence[Bar], x_title: str, note: str = "") -> str:
    """Horizontal bars that start at 0, each with its interval.

    Args:
        title: text above the plot.
        rows: the bars, from top to bottom.
        x_title: text below the x axis.
        note: small text at the bottom.

    Returns:
        The SVG file as text.
    """
    step, top, bottom, width = 24, 44, 74, 760
    height = top + bottom + step * len(rows)
    left, right = 24 + min(420, CHARACTER * max(len(r.label) for r in rows)), width - 70
    ticks = nice_ticks([0, *(v for r in rows for v in r[1:])])
    axes = _Axes(left, right, top, height - bottom, (min(ticks), max(ticks)), (0, 1))
    parts = [_text(16, 24, title, "title")]
    for tick in ticks:
        x = axes.at(tick, 0)[0]
        parts.append(_line(x, top, x, axes.bottom, "axis" if tick == 0 else "grid"))
        parts.append(_text(x, axes.bottom + 18, f"{tick:g}", "", "middle"))
    parts.append(_text((left + right) / 2, axes.bottom + 42, x_title, "", "middle"))
    for i, row in enumerate(rows):
        parts += _bar(axes, row, top + step * i, step)
    parts.append(_text(16, height - 10, note, "small"))
    return _svg(title, width, height, parts)


def nice_ticks(values: Sequence[float], about: int = 6) -> list[float]:
    """Round numbers that cover the values, with a step of 1, 2 or 5 times a power of ten.

    Args:
        values: NaN and infinities are ignored.
        about: approximate number of steps.

    >>> nice_ticks([0.3, 9.7]), nice_ticks([71, 71])
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [70.8, 71.0, 71.2])
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0]
    low, high = min(finite), max(finite)
    rough = ((high - low) or 1.0) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return [round(i * step, 10) for i in range(first, last + 1)]


def spread(positions: Sequence[float], apart: float) -> list[float]:
    """The positions, moved down where necessary so that neighbours are at least `apart` from each other.

    >>> spread([10, 12, 50], 16)
    [10, 26, 50]
    """
    result, free = list(positions), -math.inf
    for i in sorted(range(len(positions)), key=lambda i: positions[i]):
        result[i] = free = max(positions[i], free)
        free += apart
    return result


def _grid(axes: _Axes, ticks: Sequence[float], x: Sequence[float], x_title: str) -> list[str]:
    """Horizontal grid lines with their values, the x axis with at most 24 values, and its title."""
    parts = []
    for tick in ticks:
        y = axes.at(x[0], tick)[1]
        parts += [_line(axes.left, y, axes.right, y, "grid"), _text(axes.left - 8, y + 4, f"{tick:g}", "", "end")]
    for value in x if len(x) <= 24 else x[:: math.ceil(len(x) / 24)]:
        parts.append(_text(axes.at(value, axes.y[0])[0], axes.bottom + 20, f"{value:g}", "", "middle"))
    parts.append(_line(axes.left, axes.bottom, axes.right, axes.bottom, "axis"))
    parts.append(_text((axes.left + axes.right) / 2, axes.bottom + 42, x_title, "", "middle"))
    return parts


def _named_lines(axes: _Axes, x: Sequence[float], lines: Mapping[str, Sequence[float]]) -> list[str]:
    """Each line with a dot per value, and its name to the right of its last value."""
    parts = []
    last = [next((v for v in reversed(line) if math.isfinite(v)), axes.y[0]) for line in lines.values()]
    name_y = spread([axes.at(x[0], v)[1] for v in last], 16)
    for i, (name, line) in enumerate(lines.items()):
        points = [axes.at(*p) for p in zip(x, line, strict=True) if math.isfinite(p[1])]
        colour, radius = f"c{i % 5}", 3 if i == 0 else 2
        parts.append(f'<polyline class="{colour} line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        parts += [f'<circle class="{colour} dot" cx="{a:.1f}" cy="{b:.1f}" r="{radius}"/>' for a, b in points]
        parts.append(_text(axes.right + 8, name_y[i] + 4, name, f"{colour} name"))
    return parts


def _bar(axes: _Axes, row: Bar, y: float, step: float) -> list[str]:
    """One row of `bars`: its label, the bar with its value, and the interval."""
    parts = [_text(axes.left - 10, y + 16, row.label, "", "end")]
    if math.isfinite(row.value):
        a, b = sorted((axes.at(0, 0)[0], axes.at(row.value, 0)[0]))
        colour = "c3" if row.value >= 0 else "c0"
        parts.append(f'<rect class="{colour} bar" x="{a:.1f}" y="{y + 5}" width="{b - a:.1f}" height="{step - 10}"/>')
        parts.append(_text(axes.right + 10, y + 16, f"{row.value:+.1f}", ""))
    if math.isfinite(row.low) and math.isfinite(row.high):
        ends, middle = (axes.at(row.low, 0)[0], axes.at(row.high, 0)[0]), y + step / 2
        parts.append(_line(ends[0], middle, ends[1], middle, "whisker"))
        parts += [_line(e, middle - 4, e, middle + 4, "whisker") for e in ends]
    return parts


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    """An SVG text element, escaped."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """An SVG line element."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """The SVG file with its style."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
