"""The staged scenes of `shapes`: eight kinds, written by hand, each a known difficulty of video object segmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, COLUMN, PATTERNS, SHAPES, Appearance, Thing


class AppearanceSampler:
    """Draws appearances of different colours, and of different patterns and shapes until these run out."""

    def __init__(self, rng: np.random.Generator):
        self.colours = list(rng.permutation(list(COLOURS)))
        self.patterns = list(rng.permutation(PATTERNS)) * 2
        self.shapes = list(rng.permutation(SHAPES)) * 2

    def new(self, shape: str | None = None) -> Appearance:
        """An appearance of a new colour."""
        return Appearance(str(shape or self.shapes.pop()), str(self.colours.pop()), str(self.patterns.pop()))


def column(x: float, radius: float) -> Thing:
    """Scenery: a column that hides what passes behind it."""
    return Thing(Appearance(COLUMN, "", ""), ((x, 0.5),), (radius,), 0.0, 0.0)


def crossing_twins(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """Twins meet in the middle; one passes in front of the other."""
    twin, other = sampler.new(), sampler.new()
    return (
        Thing(other, ((0.40, 0.22), (0.45, 0.20), (0.44, 0.24)), (0.13,), 1.0),
        Thing(twin, ((0.25, 0.54), (0.49, 0.60), (0.76, 0.52)), (0.19,), 0.9),
        Thing(twin, ((0.75, 0.70), (0.53, 0.66), (0.26, 0.72)), (0.19,), -0.9),
    )


def leaving_and_returning(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """One object leaves the frame and comes back; another stays."""
    gone, stays = sampler.new(), sampler.new()
    return (
        Thing(stays, ((0.30, 0.72), (0.34, 0.50), (0.28, 0.32), (0.34, 0.42)), (0.20,), 1.2, 0.07),
        Thing(gone, ((0.80, 0.36), (0.95, 0.44), (1.16, 0.50), (0.98, 0.56), (0.78, 0.60)), (0.15,), -1.6, 0.06),
    )


def behind_the_column(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """One object passes behind a column and is hidden for some frames; another passes in front of it."""
    hidden, front = sampler.new(), sampler.new()
    return (
        Thing(hidden, ((0.27, 0.32), (0.45, 0.30), (0.56, 0.34), (0.76, 0.30)), (0.12,), 2.0),
        column(0.5, 0.18),
        Thing(front, ((0.74, 0.70), (0.54, 0.74), (0.28, 0.72)), (0.17,), -1.2, 0.06),
    )


def coming_closer(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """One object grows, one shrinks, and one drifts between them."""
    near, far, drift = sampler.new(), sampler.new(), sampler.new()
    return (
        Thing(far, ((0.26, 0.40), (0.30, 0.34), (0.36, 0.24)), (0.27, 0.16, 0.09), 0.8, 0.04),
        Thing(drift, ((0.12, 0.80), (0.40, 0.78), (0.56, 0.80)), (0.13,), -1.5, 0.07),
        Thing(near, ((0.68, 0.30), (0.70, 0.42), (0.72, 0.54)), (0.09, 0.18, 0.33), -0.7, 0.04),
    )


def turning_back(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """Twins set out side by side; one turns back."""
    twin, other = sampler.new(), sampler.new()
    return (
        Thing(other, ((0.78, 0.22), (0.80, 0.26), (0.78, 0.24)), (0.15,), 3.0),
        Thing(twin, ((0.18, 0.32), (0.34, 0.34), (0.50, 0.42), (0.66, 0.54)), (0.17,), 0.5),
        Thing(twin, ((0.16, 0.74), (0.36, 0.72), (0.42, 0.70), (0.18, 0.68)), (0.17,), 0.5),
    )


def spinning_twin(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """One of two twins spins; a third object crosses in front of both."""
    twin, sweep = sampler.new("star"), sampler.new("disc")
    return (
        Thing(twin, ((0.30, 0.36), (0.34, 0.40), (0.32, 0.36)), (0.22,), 3.4, 0.0),
        Thing(twin, ((0.72, 0.62), (0.70, 0.58), (0.70, 0.62)), (0.22,), 0.0, 0.0),
        Thing(sweep, ((0.22, 0.26), (0.42, 0.46), (0.60, 0.54), (0.80, 0.76)), (0.14,), 1.2, 0.06),
    )


def odd_one_out(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """One object follows another; a third moves towards them."""
    first, second, against = sampler.new(), sampler.new(), sampler.new()
    return (
        Thing(against, ((0.78, 0.44), (0.58, 0.40), (0.36, 0.42)), (0.16,), 1.0, 0.06),
        Thing(first, ((0.42, 0.30), (0.54, 0.50), (0.74, 0.66)), (0.15,), -1.4),
        Thing(second, ((0.18, 0.66), (0.30, 0.54), (0.48, 0.66)), (0.17,), 0.8, 0.07),
    )


def four_ways(sampler: AppearanceSampler) -> tuple[Thing, ...]:
    """Four objects of one shape move up, down, left and right, and cross each other."""
    shape = str(sampler.shapes.pop())
    paths = (
        ((0.32, 0.80), (0.34, 0.50), (0.30, 0.22)),
        ((0.66, 0.22), (0.64, 0.50), (0.68, 0.80)),
        ((0.60, 0.34), (0.40, 0.36), (0.18, 0.32)),
        ((0.40, 0.70), (0.58, 0.72), (0.82, 0.66)),
    )
    return tuple(Thing(sampler.new(shape), path, (0.13,), (-1) ** k * 1.5, 0.06) for k, path in enumerate(paths))


STAGED: tuple[Callable[[AppearanceSampler], tuple[Thing, ...]], ...] = (
    crossing_twins,
    leaving_and_returning,
    behind_the_column,
    coming_closer,
    turning_back,
    spinning_twin,
    four_ways,
)  # odd_one_out is used for one fixed clip of eight
