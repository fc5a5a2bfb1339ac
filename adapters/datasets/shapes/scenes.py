"""What happens in the clips of `shapes`: the kinds of scenes, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from adapters.datasets.shapes.things import COLOURS, PATTERNS, SHAPES, Look, Scene, Sentence, Thing


def compose(seed: int, index: int) -> Scene:
    """The scene of a clip; the kinds of scenes take turns.

    Args:
        seed: of the data set.
        index: of the clip.
    """
    rng = np.random.default_rng([seed, index])
    make = SCENES[index % len(SCENES)]
    scene = make(Looks(rng), rng)
    if rng.random() < 0.5:
        scene = mirrored(scene)
    pan = tuple(rng.uniform(-0.06, 0.06, 2))
    things = tuple(replace(t, path=_jitter(t.path, rng)) for t in scene.things)
    texture = int(rng.integers(2**31))
    return replace(
        scene, name=f"{index:02d}_{make.__name__}", things=things, pan=pan, ground=seed + index, texture=texture
    )


def mirrored(scene: Scene) -> Scene:
    """The scene seen in a mirror: left and right change places, in the sentences too."""

    def swap(text: str) -> str:
        return text.replace("left", "\0").replace("right", "left").replace("\0", "right")

    things = []
    for thing in scene.things:
        sentences = tuple(replace(s, text=swap(s.text)) for s in thing.sentences)
        path = tuple((1 - x, y) for x, y in thing.path)
        things.append(replace(thing, path=path, turn=-thing.turn, sentences=sentences))
    return replace(scene, things=tuple(things))


def _jitter(path, rng) -> tuple[tuple[float, float], ...]:
    return tuple(
        (x + dx, y + dy) for (x, y), (dx, dy) in zip(path, rng.uniform(-0.02, 0.02, (len(path), 2)), strict=True)
    )


class Looks:
    """Deals out looks that differ in colour, pattern and shape for as long as there are any."""

    def __init__(self, rng: np.random.Generator):
        self.colours = list(rng.permutation(list(COLOURS)))
        self.patterns = list(rng.permutation(PATTERNS)) * 2
        self.shapes = list(rng.permutation(SHAPES)) * 2

    def new(self, shape: str | None = None) -> Look:
        """A look of a new colour."""
        shape = shape or self.shapes.pop()
        return Look(str(shape), str(self.colours.pop()), str(self.patterns.pop()))


def by_look(look: Look, where: str = "") -> Sentence:
    return Sentence(f"the {look}{where and ' ' + where}", by_look=True)


def by_motion(look: Look, what: str) -> Sentence:
    return Sentence(f"the {look.shape} {what}", by_look=False)


def crossing_twins(looks: Looks, rng) -> Scene:
    """Twins meet in the middle, one passes in front of the other."""
    twin, other = looks.new(), looks.new()
    start = "that is on the {} at first"
    return Scene(
        "",
        (
            Thing(other, ((0.40, 0.22), (0.52, 0.20), (0.60, 0.24)), (0.13,), 1.0, 0.05, (
                by_look(other), by_motion(other, "that hardly moves"))),
            Thing(twin, ((0.25, 0.54), (0.49, 0.60), (0.76, 0.52)), (0.19,), 0.9, 0.05, (
                by_motion(twin, "that moves to the right"), by_motion(twin, start.format("left")))),
            Thing(twin, ((0.75, 0.70), (0.53, 0.66), (0.26, 0.72)), (0.19,), -0.9, 0.05, (
                by_motion(twin, "that moves to the left"), by_motion(twin, start.format("right")))),
        ),
    )  # fmt: skip


def leaving_and_returning(looks: Looks, rng) -> Scene:
    """One leaves the picture and comes back; another stays."""
    gone, stays = looks.new(), looks.new()
    return Scene(
        "",
        (
            Thing(stays, ((0.30, 0.72), (0.34, 0.50), (0.28, 0.32), (0.34, 0.42)), (0.20,), 1.2, 0.07, (
                by_look(stays), by_motion(stays, "that stays in view"))),
            Thing(gone, ((0.80, 0.36), (0.95, 0.44), (1.14, 0.50), (0.98, 0.56), (0.78, 0.60)), (0.15,), -1.6, 0.06, (
                by_look(gone), by_motion(gone, "that leaves and comes back"))),
        ),
    )  # fmt: skip


def behind_the_column(looks: Looks, rng) -> Scene:
    """One passes behind a column and is hidden for some frames; another passes in front of it."""
    hidden, front = looks.new(), looks.new()
    column = Look("column", "sand", "plain")
    return Scene(
        "",
        (
            Thing(hidden, ((0.27, 0.32), (0.45, 0.30), (0.56, 0.34), (0.76, 0.30)), (0.13,), 2.0, 0.05, (
                by_look(hidden), by_motion(hidden, "that passes behind the column"))),
            Thing(column, ((0.50, 0.50),), (0.18,), 0.0, 0.0),
            Thing(front, ((0.74, 0.70), (0.54, 0.74), (0.28, 0.72)), (0.17,), -1.2, 0.06, (
                by_look(front), by_motion(front, "that passes in front of the column"))),
        ),
    )  # fmt: skip


def coming_closer(looks: Looks, rng) -> Scene:
    """One grows, one shrinks, one drifts between them."""
    near, far, drift = looks.new(), looks.new(), looks.new()
    return Scene(
        "",
        (
            Thing(far, ((0.26, 0.40), (0.30, 0.34), (0.36, 0.24)), (0.27, 0.16, 0.09), 0.8, 0.04, (
                by_look(far), by_motion(far, "that goes away"))),
            Thing(drift, ((0.12, 0.80), (0.40, 0.78), (0.56, 0.80)), (0.13,), -1.5, 0.07, (
                by_look(drift), by_motion(drift, "that drifts along the bottom"))),
            Thing(near, ((0.68, 0.30), (0.70, 0.42), (0.72, 0.54)), (0.09, 0.18, 0.33), -0.7, 0.04, (
                by_look(near), by_motion(near, "that comes closer"))),
        ),
    )  # fmt: skip


def turning_back(looks: Looks, rng) -> Scene:
    """Twins set out side by side; one turns back."""
    twin, other = looks.new(), looks.new()
    return Scene(
        "",
        (
            Thing(other, ((0.78, 0.22), (0.80, 0.30), (0.76, 0.26)), (0.15,), 1.4, 0.05, (
                by_look(other), by_motion(other, "that spins on the spot"))),
            Thing(twin, ((0.18, 0.32), (0.34, 0.34), (0.50, 0.42), (0.66, 0.54)), (0.17,), 0.5, 0.05, (
                by_motion(twin, "that goes on to the right"), by_motion(twin, "that starts at the top"))),
            Thing(twin, ((0.18, 0.72), (0.36, 0.70), (0.38, 0.68), (0.18, 0.64)), (0.17,), 0.5, 0.05, (
                by_motion(twin, "that turns back"), by_motion(twin, "that starts at the bottom"))),
        ),
    )  # fmt: skip


def spinning_twin(looks: Looks, rng) -> Scene:
    """Of two twins one spins; a third thing sweeps across in front of both."""
    twin, sweep = looks.new("star"), looks.new("disc")
    return Scene(
        "",
        (
            Thing(twin, ((0.30, 0.36), (0.34, 0.40), (0.36, 0.36)), (0.22,), 3.4, 0.0, (
                by_motion(twin, "that spins"), by_look(twin, "on the left"))),
            Thing(twin, ((0.72, 0.62), (0.68, 0.58), (0.70, 0.62)), (0.22,), 0.0, 0.0, (
                by_motion(twin, "that does not turn"), by_look(twin, "on the right"))),
            Thing(sweep, ((0.22, 0.26), (0.42, 0.46), (0.60, 0.54), (0.80, 0.76)), (0.14,), 1.2, 0.06, (
                by_look(sweep), by_motion(sweep, "that passes in front of the stars"))),
        ),
    )  # fmt: skip


def odd_one_out(looks: Looks, rng) -> Scene:
    """Two chase each other, one comes towards them; one of the three has a single sentence."""
    first, second, against = looks.new(), looks.new(), looks.new()
    things = [
        Thing(against, ((0.78, 0.44), (0.58, 0.40), (0.36, 0.42)), (0.16,), 1.0, 0.06, (
            by_look(against), by_motion(against, "that comes towards the other two"))),
        Thing(first, ((0.42, 0.30), (0.54, 0.50), (0.74, 0.66)), (0.15,), -1.4, 0.05, (
            by_look(first), by_motion(first, "that goes ahead"))),
        Thing(second, ((0.18, 0.66), (0.30, 0.54), (0.48, 0.66)), (0.17,), 0.8, 0.07, (
            by_look(second), by_motion(second, "that follows"))),
    ]  # fmt: skip
    single = int(rng.integers(3))
    things[single] = replace(things[single], sentences=things[single].sentences[:1])
    return Scene("", tuple(things))


def four_ways(looks: Looks, rng) -> Scene:
    """Four of one shape go up, down, left and right, and cross each other."""
    shape = str(looks.shapes.pop())
    ways = {
        "up": ((0.32, 0.80), (0.34, 0.50), (0.30, 0.22)),
        "down": ((0.66, 0.22), (0.64, 0.50), (0.68, 0.80)),
        "to the left": ((0.56, 0.34), (0.40, 0.36), (0.18, 0.32)),
        "to the right": ((0.42, 0.70), (0.58, 0.72), (0.80, 0.66)),
    }
    things = []
    for k, (way, path) in enumerate(ways.items()):
        look = looks.new(shape)
        sentences = (by_look(look), by_motion(look, f"that moves {way}"))
        things.append(Thing(look, path, (0.13,), (-1) ** k * 1.5, 0.06, sentences))
    return Scene("", tuple(things))


SCENES: tuple[Callable[[Looks, np.random.Generator], Scene], ...] = (
    crossing_twins,
    leaving_and_returning,
    behind_the_column,
    coming_closer,
    turning_back,
    spinning_twin,
    odd_one_out,
    four_ways,
)
