"""Figures of scores: curves with a band, bars with intervals, and heat maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rvos_ensemble.ensemble.report.paper.style import COLOURS, MARKERS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TICKS = 12  # of the x axis of curves, if each value gets one
MOST_MARKED = 60  # points of a line with a marker each
MOST_WRITTEN = 400  # cells of a heat map that show their numbers
LABEL = 60  # characters of the name of a bar; half as many at a heat map


class Bar(NamedTuple):
    """A bar and its interval; NaN for a missing value."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan


class Axis(NamedTuple):
    """An axis of a heat map: its title and the labels of its columns or rows."""

    title: str
    labels: Sequence[str]


def curves(
    title: str,
    x_title: str,
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    reference: tuple[str, float] | None = None,
    note: str = "",
) -> Figure:
    """Lines over a common x axis.

    Args:
        title: text above the plot.
        x_title: text below the x axis.
        x: ascending values.
        lines: {name: one value per x}; NaN is left out. The first line is drawn thickest.
        band: lower and upper limits around the first line; NaN leaves a gap.
        reference: name and value of a dashed horizontal line.
        note: small text at the bottom.
    """
    with styled():
        figure, axes = new_figure(title, 3.8, note)
        axes.grid(axis="y")
        if band:
            axes.fill_between(x, *band, color=COLOURS[0], alpha=0.15, linewidth=0)
        for i, (name, values) in enumerate(lines.items()):
            look = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.2 if i else 2.2, "markersize": 4 if i else 5}
            points = [(a, b) for a, b in zip(x, values, strict=True) if not math.isnan(b)]
            marker = MARKERS[i % len(MARKERS)] if len(points) <= MOST_MARKED else ""
            axes.plot(
                *(zip(*points, strict=True) if points else ([], [])),
                marker=marker,
                label=name,
                zorder=3 if i else 4,
                **look,
            )
        if reference:
            axes.axhline(reference[1], color="#555555", linestyle=(0, (5, 4)), linewidth=1, label=reference[0])
        if len(x) <= MOST_TICKS:
            axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set_xlabel(x_title)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return figure


def bars(title: str, rows: Sequence[Bar], x_title: str, note: str = "") -> Figure:
    """Horizontal bars that start at 0, each with its interval and its value.

    Args:
        title: text above the plot.
        rows: the bars, from top to bottom.
        x_title: text below the x axis.
        note: small text at the bottom.
    """
    with styled():
        figure, axes = new_figure(title, 1.6 + 0.24 * len(rows), note)
        axes.grid(axis="x")
        places = np.arange(len(rows))
        values = np.array([row.value for row in rows], float)
        colours = [COLOURS[2] if value >= 0 else COLOURS[1] for value in values]
        axes.barh(places, np.nan_to_num(values), color=colours, height=0.62)
        for place, row in zip(places, rows, strict=True):
            if math.isfinite(row.low) and math.isfinite(row.high):
                axes.plot([row.low, row.high], [place, place], color="#222222", linewidth=1.2, marker="|", markersize=6)
        axes.axvline(0, color="#222222", linewidth=0.8)
        axes.set_yticks(places, [_short(row.label, LABEL) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        beside = axes.secondary_yaxis("right")
        beside.set_yticks(places, ["" if math.isnan(v) else f"{v:+.1f}" for v in values])
        for side in (axes, beside):
            side.tick_params(axis="y", length=0)
        beside.spines["right"].set_visible(False)
        axes.set_xlabel(x_title)
        return figure


def heat_map(title: str, across: Axis, down: Axis, values: np.ndarray, measure: str, note: str = "") -> Figure:
    """A cell for each pair of settings, with its number; the highest is framed and bold.

    Args:
        title: text above the plot.
        across, down: the axes.
        values: float [rows, columns], NaN for an empty cell.
        measure: what the numbers are, beside the scale of colours.
        note: small text at the bottom.
    """
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    with styled():
        width, height = (
            min(24.0, max(least, each * n + 2.2)) for least, each, n in ((7.2, 0.62, columns), (3, 0.34, rows))
        )
        figure, axes = new_figure(title, height, note, width)
        mesh = axes.pcolormesh(np.ma.masked_invalid(values), cmap="cividis", edgecolors="white", linewidth=0.5)
        scale = figure.colorbar(mesh, ax=axes, label=measure, pad=0.02)
        scale.outline.set_visible(False)
        axes.set_xticks(np.arange(columns) + 0.5, [_short(label, LABEL // 2) for label in across.labels])
        axes.set_yticks(np.arange(rows) + 0.5, [_short(label, LABEL // 2) for label in down.labels])
        if max(map(len, across.labels)) * columns > 80:
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel=across.title, ylabel=down.title, ylim=(rows, 0))
        best = np.nanmax(values) if np.isfinite(values).any() else math.nan
        middle = np.nanmean([np.nanmin(values), best]) if math.isfinite(best) else math.nan
        for (i, j), value in np.ndenumerate(values):
            if value == best:
                axes.add_patch(Rectangle((j, i), 1, 1, fill=False, edgecolor="#d55e00", linewidth=2, zorder=3))
            if math.isfinite(value) and values.size <= MOST_WRITTEN:
                look = {"color": "white" if value < middle else "black", "fontsize": 8}
                weight = "bold" if value == best else "normal"
                axes.text(j + 0.5, i + 0.5, f"{value:.1f}", ha="center", va="center", fontweight=weight, **look)
        return figure


def _short(label: str, most: int) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
