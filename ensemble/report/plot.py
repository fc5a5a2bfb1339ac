"""Plots as plain SVG: curves with a band, and bars with intervals. They follow the reader's light or dark setting."""

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
CHARACTER = 7.2  # pixels a letter takes at most on average in the fonts above, to leave room for names


class Bar(NamedTuple):
    """A bar and its interval; NaN where there is none."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan


def curves(
    title: str,
    x_title: str,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    reference: tuple[str, float] | None = None,
    note: str = "",
) -> str:
    """Lines over a common axis.

    Args:
        title, x_title, note: above, below, and small print under that.
        x: ascending.
        lines: {name: one value each}; NaN leaves a gap. The first is drawn heaviest.
        band: lower and upper ends around the first line.
        reference: name and value of a dashed level.

    Returns:
        The SVG file as text.
    """
    width, height, left, top, bottom = 760, 436, 60, 60, 74
    right = width - 20 - CHARACTER * max(len(n) for n in lines)
    values = [v for line in [*lines.values(), *(band or ())] for v in line] + ([reference[1]] if reference else [])
    ticks = nice_ticks(values)
    low, high = min(ticks), max(ticks)
    span = (x[-1] - x[0]) or 1

    def at(value: float, level: float) -> tuple[float, float]:
        return (
            left + (value - x[0]) / span * (right - left) if len(x) > 1 else (left + right) / 2,
            top + (high - level) / (high - low) * (height - top - bottom),
        )

    parts = [_text(left, 24, title, "title")]
    for tick in ticks:
        y = at(x[0], tick)[1]
        parts += [_line(left, y, right, y, "grid"), _text(left - 8, y + 4, f"{tick:g}", "", "end")]
    for value in x if len(x) <= 24 else x[:: math.ceil(len(x) / 24)]:
        parts.append(_text(at(value, low)[0], height - bottom + 20, f"{value:g}", "", "middle"))
    parts.append(_line(left, height - bottom, right, height - bottom, "axis"))
    parts.append(_text((left + right) / 2, height - bottom + 42, x_title, "", "middle"))
    if reference:
        y = at(x[0], reference[1])[1]
        parts.append(_line(left, y, right, y, "reference"))
    if band:
        edge = [*zip(x, band[1], strict=True), *reversed(list(zip(x, band[0], strict=True)))]
        ends = " ".join("{:.1f},{:.1f}".format(*at(*p)) for p in edge if math.isfinite(p[1]))
        parts.append(f'<polygon class="c0 band" points="{ends}"/>')
    last = {n: next((v for v in reversed(line) if math.isfinite(v)), low) for n, line in lines.items()}
    places = spread([at(x[0], v)[1] for v in last.values()], 16)
    for i, (name, line) in enumerate(lines.items()):
        points = [at(*p) for p in zip(x, line, strict=True) if math.isfinite(p[1])]
        parts.append(f'<polyline class="c{i % 5} line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        parts += [
            f'<circle class="c{i % 5} dot" cx="{a:.1f}" cy="{b:.1f}" r="{3 if i == 0 else 2}"/>' for a, b in points
        ]
        parts.append(_text(right + 8, places[i] + 4, name, f"c{i % 5} name"))
    if reference:  # named above the plot, where no line passes
        parts += [_line(left, 38, left + 30, 38, "reference"), _text(left + 36, 42, reference[0], "small")]
    parts.append(_text(left, height - 10, note, "small"))
    return _svg(title, width, height, parts)


def bars(title: str, rows: Sequence[Bar], x_title: str, note: str = "") -> str:
    """Horizontal bars from 0, each with its interval.

    Args:
        title, x_title, note: above, below, and small print under that.
        rows: from top to bottom.

    Returns:
        The SVG file as text.
    """
    step, top, bottom, width = 24, 44, 74, 760
    height = top + bottom + step * len(rows)
    left, right = 24 + min(420, CHARACTER * max(len(r.label) for r in rows)), width - 70
    ticks = nice_ticks([0, *(v for r in rows for v in r[1:])])
    low, high = min(ticks), max(ticks)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts = [_text(16, 24, title, "title")]
    for tick in ticks:
        parts.append(_line(at(tick), top, at(tick), height - bottom, "axis" if tick == 0 else "grid"))
        parts.append(_text(at(tick), height - bottom + 18, f"{tick:g}", "", "middle"))
    parts.append(_text((left + right) / 2, height - bottom + 42, x_title, "", "middle"))
    for i, row in enumerate(rows):
        y = top + step * i
        parts.append(_text(left - 10, y + 16, row.label, "", "end"))
        if math.isfinite(row.value):
            a, b = sorted((at(0), at(row.value)))
            colour = "c3" if row.value >= 0 else "c0"
            parts.append(
                f'<rect class="{colour} bar" x="{a:.1f}" y="{y + 5}" width="{b - a:.1f}" height="{step - 10}"/>'
            )
            parts.append(_text(right + 10, y + 16, f"{row.value:+.1f}", ""))
        if math.isfinite(row.low) and math.isfinite(row.high):
            ends, middle = (at(row.low), at(row.high)), y + step / 2
            parts.append(_line(ends[0], middle, ends[1], middle, "whisker"))
            parts += [_line(e, middle - 4, e, middle + 4, "whisker") for e in ends]
    parts.append(_text(16, height - 10, note, "small"))
    return _svg(title, width, height, parts)


def nice_ticks(values: Sequence[float], about: int = 6) -> list[float]:
    """Round numbers that span the values, at a step of 1, 2 or 5 times a power of ten.

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


def spread(places: Sequence[float], apart: float) -> list[float]:
    """The places in their order, moved down where needed so that none are closer than that.

    >>> spread([10, 12, 50], 16)
    [10, 26, 50]
    """
    result, free = list(places), -math.inf
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        result[i] = free = max(places[i], free)
        free += apart
    return result


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )
