"""The scenes of `shapes`: staged and random ones, at three levels of difficulty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.levels import BENCHMARKS, LEVELS, SPLITS
from rvos_ensemble.adapters.datasets.shapes.staged import STAGED, AppearanceSampler, column, odd_one_out
from rvos_ensemble.adapters.datasets.shapes.things import COLUMN, PATTERNS, Appearance, Conditions, Scene, Thing

ODD = 6  # the clip of every eight in which one object has a single sentence


@dataclass(frozen=True)
class Level:
    """The parameters of a level of difficulty; pairs are ranges.

    Attributes:
        things: number of objects in a random scene.
        alike: probability that two of them are twins; otherwise, that all have one shape.
        columns: probability of a column.
        care: number of candidate paths, of which the one with the largest distance to the other objects is used.
        radius: of the objects.
        sway: largest bending of outlines.
        jitter: of the way points of staged scenes.
        light: largest gain, spot and change of gamma.
        blur: largest defocus and exposure.
        camera: largest pan, zoom and shake.
        noise: largest noise.
    """

    things: tuple[int, int]
    alike: float
    columns: float
    care: int
    radius: tuple[float, float]
    sway: float
    jitter: float
    light: tuple[float, float, float]
    blur: tuple[float, float]
    camera: tuple[float, float, float]
    noise: float


OF_LEVEL = {
    "easy": Level((2, 3), 0.3, 0.0, 8, (0.13, 0.22), 0.06, 0.02, (0, 0, 0), (0, 0.3), (0.05, 0.03, 0.003), 2),
    "medium": Level(
        (3, 4), 0.5, 0.3, 4, (0.10, 0.20), 0.10, 0.04, (0.5, 0.4, 0.2), (0.004, 0.7), (0.07, 0.06, 0.005), 4
    ),
    "hard": Level((4, 6), 0.7, 0.6, 2, (0.08, 0.18), 0.16, 0.05, (1.2, 0.8, 0.4), (0.010, 1.0), (0.12, 0.10, 0.009), 9),
}


def compose(
    split: str, seed: int, index: int, level: str | None = None, attempt: int = 0, benchmark: str = BENCHMARKS[0]
) -> Scene:
    """The scene of a clip. Staged and random scenes alternate.

    Args:
        split: one of SPLITS.
        seed: of the data set.
        index: of the clip.
        level: one of LEVELS; None alternates between them.
        attempt: selects another scene in place of one that was unsuitable.
        benchmark: one of BENCHMARKS; they have no scene in common.
    """
    level = level or LEVELS[index % len(LEVELS)]
    stream = len(SPLITS) * BENCHMARKS.index(benchmark) + SPLITS.index(split)
    rng = np.random.default_rng([stream, LEVELS.index(level), seed, index, attempt])
    how = OF_LEVEL[level]
    if index % 2:
        name, things = "free", _free(how, rng)
    else:
        turn = seed + index // 8 * 3 + index % 8 // 2
        make = odd_one_out if index % 8 == ODD else STAGED[turn % len(STAGED)]
        name, things = make.__name__, _restaged(make(AppearanceSampler(rng)), how, rng)
    return Scene(f"{index:02d}_{level}_{name}", things, _conditions(how, rng), int(rng.integers(2**31)))


def _restaged(things: tuple[Thing, ...], how: Level, rng) -> tuple[Thing, ...]:
    """The scene with slightly moved way points, possibly mirrored, and with the bending of the level."""
    mirror, changed = rng.random() < 0.5, []
    for thing in things:
        path = np.array(thing.path)
        if thing.appearance.shape != COLUMN:
            path += rng.uniform(-how.jitter, how.jitter, path.shape)
        if mirror:
            path[:, 0] = 1 - path[:, 0]
        sway = thing.sway and rng.uniform(0.5, 1) * how.sway
        turn = -thing.turn if mirror else thing.turn
        changed.append(replace(thing, path=_points(path), turn=turn, sway=sway))
    return tuple(changed)


def _conditions(how: Level, rng) -> Conditions:
    gain, spot, gamma = how.light
    defocus, exposure = how.blur
    pan, zoom, shake = how.camera
    return Conditions(
        pan=tuple(rng.uniform(0.4 * pan, pan, 2) * rng.choice([-1, 1], 2)),
        zoom=rng.uniform(-zoom, zoom),
        shake=shake * rng.uniform(0.3, 1),
        gain=rng.uniform(-gain, gain),
        gamma=2 ** rng.uniform(-gamma, gamma),
        spot=spot * rng.uniform(0, 1),
        defocus=max(0, defocus * rng.uniform(-1, 1)),
        exposure=exposure * rng.uniform(0, 1),
        noise=rng.uniform(0.5, how.noise),
    )


def _free(how: Level, rng) -> tuple[Thing, ...]:
    """Objects of random appearance on random paths, in random order from back to front."""
    count = int(rng.integers(how.things[0], how.things[1] + 1))
    things: list[Thing] = []
    for appearance in _appearances(count, how, rng):
        candidates = [_wanderer(appearance, how, rng) for _ in range(how.care)]
        things.append(max(candidates, key=lambda thing: _room(thing, things)))
    if rng.random() < how.columns:
        things.insert(int(rng.integers(len(things))), column(rng.uniform(0.3, 0.7), rng.uniform(0.08, 0.18)))
    return tuple(things)


def _appearances(count: int, how: Level, rng) -> list[Appearance]:
    sampler = AppearanceSampler(rng)
    dice = rng.random()
    if dice < how.alike:
        twin = sampler.new()
        appearances = [twin, twin, *(sampler.new() for _ in range(count - 2))]
    elif dice < how.alike + (1 - how.alike) / 2:
        shape = sampler.new().shape
        appearances = [sampler.new(shape) for _ in range(count)]
    else:
        appearances = [sampler.new() for _ in range(count)]
    if count > 3 and rng.random() < 0.5:  # the same colour in another shape or pattern
        pattern = next(p for p in rng.permutation(PATTERNS) if p != appearances[2].pattern)
        appearances[3] = Appearance(appearances[3].shape, appearances[2].colour, str(pattern))
    return [appearances[k] for k in rng.permutation(count)]


def _wanderer(appearance: Appearance, how: Level, rng) -> Thing:
    radius = rng.uniform(*how.radius)
    radii = (radius,)
    path = PATHS[rng.choice(len(PATHS), p=CHANCES)](rng)
    if rng.random() < 0.25:
        ratio = rng.uniform(1.6, 2.6)
        radii = (radius * ratio**-0.5, radius, radius * ratio**0.5)[:: rng.choice([-1, 1])]
    turn = rng.choice([0.0, rng.uniform(-1.2, 1.2), rng.choice([-1, 1]) * rng.uniform(2.5, 7)], p=[0.25, 0.5, 0.25])
    return Thing(
        appearance, _points(path), tuple(float(r) for r in radii), float(turn), float(how.sway * rng.uniform(0, 1))
    )


def _room(thing: Thing, others: list[Thing]) -> float:
    """The smallest distance to the others over the clip, in frame heights."""
    room = 9.0
    for time in (0.0, 0.33, 0.67, 1.0):
        x, y, radius = thing.at(time)
        for other in others:
            a, b, c = other.at(time)
            room = min(room, float(np.hypot(1.78 * (x - a), y - b)) - radius - c)
    return room


# Paths [K, 2], created towards the right and then turned to any side.


def _across(rng) -> np.ndarray:
    return _turned(np.array([(rng.uniform(0.1, 0.3), 0), (0.5, 0), (rng.uniform(0.7, 0.9), 0)]), 0.08, rng)


def _back(rng) -> np.ndarray:
    start, far = rng.uniform(0.12, 0.35), rng.uniform(0.35, 0.5)
    return _turned(np.array([(start, 0), (start + 0.7 * far, 0), (start + far, 0), (start + 0.1 * far, 0)]), 0.05, rng)


def _away_and_back(rng) -> np.ndarray:
    start = rng.uniform(0.65, 0.8)
    return _turned(np.array([(start, 0), (0.98, 0), (1.25, 0), (0.98, 0), (start - 0.05, 0)]), 0.03, rng)


def _away(rng) -> np.ndarray:
    return _turned(np.array([(rng.uniform(0.4, 0.7), 0), (0.9, 0), (1.3, 0)]), 0.06, rng)


def _in(rng) -> np.ndarray:
    return _away(rng)[::-1]


def _still(rng) -> np.ndarray:
    return rng.uniform(0.15, 0.85, 2) + rng.uniform(-0.012, 0.012, (3, 2))


def _anywhere(rng) -> np.ndarray:
    return rng.uniform(0.12, 0.88, (int(rng.integers(3, 6)), 2))


def _round(rng) -> np.ndarray:
    angles = rng.uniform(0, 6.28) + rng.choice([-1, 1]) * np.linspace(0, rng.uniform(3, 6.5), 7)
    ring = np.stack([0.16 * np.cos(angles), 0.27 * np.sin(angles)], axis=1)
    return rng.uniform(0.3, 0.7, 2) + rng.uniform(0.7, 1.2) * ring


PATHS = (_across, _back, _away_and_back, _away, _in, _still, _anywhere, _round)
CHANCES = (0.28, 0.17, 0.1, 0.06, 0.06, 0.13, 0.12, 0.08)


def _turned(path: np.ndarray, jitter: float, rng) -> np.ndarray:
    """The path at a random height, directed to the right, left, up or down."""
    path = path + np.array([0, rng.uniform(0.15, 0.85)]) + rng.uniform(-jitter, jitter, path.shape)
    if rng.random() < 0.35:
        path = path[:, ::-1]
    return 1 - path if rng.random() < 0.5 else path


def _points(path: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in path)
