"""Things and scenes of `shapes`: looks, paths, and the sentences that refer to them.

Places are in units of the frame (x of its width, y of its height), sizes are radii in frame heights, angles are in
radians, and time runs from 0 to 1 over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

COLOURS = {
    "red": (214, 64, 69),
    "orange": (240, 138, 56),
    "yellow": (246, 202, 78),
    "green": (92, 168, 88),
    "teal": (38, 148, 150),
    "blue": (62, 110, 196),
    "purple": (132, 88, 176),
    "pink": (236, 130, 160),
}
PATTERNS = ("striped", "dotted", "checkered", "ringed")
SHAPES = ("disc", "square", "star", "triangle", "flower")


@dataclass(frozen=True)
class Look:
    """Shape, colour and pattern: all that a single frame shows of a thing."""

    shape: str
    colour: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.pattern} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Sentence:
    """An expression. `by_look`: one frame is enough to understand it; otherwise one has to watch the motion."""

    text: str
    by_look: bool


@dataclass(frozen=True)
class Thing:
    """Something that moves. Without sentences it is scenery, and no object of the data set.

    Attributes:
        look: twins have equal looks.
        path: (x, y) way points, equally spaced in time, joined by a smooth curve.
        radius: way points of its size.
        turn: angle it turns by over the clip.
        sway: how much its outline bends in time, as a share of the radius.
        sentences: that refer to it, in the order of the data set.
    """

    look: Look
    path: tuple[tuple[float, float], ...]
    radius: tuple[float, ...] = (0.17,)
    turn: float = 0.8
    sway: float = 0.05
    sentences: tuple[Sentence, ...] = ()

    def at(self, time: float) -> tuple[float, float, float]:
        """(x, y, radius) at a time."""
        x, y = curve(np.array(self.path), time)
        return float(x), float(y), float(curve(np.array(self.radius)[:, None], time)[0])


@dataclass(frozen=True)
class Scene:
    """A clip before it is drawn.

    Attributes:
        name: of the clip.
        things: back to front.
        pan: (x, y) by which the camera travels over the clip.
        ground: which background.
        texture: seed of its pebbles, of the grain of the things and of the camera's shake.
    """

    name: str
    things: tuple[Thing, ...]
    pan: tuple[float, float] = (0.0, 0.0)
    ground: int = 0
    texture: int = 0
    objects: tuple[Thing, ...] = field(init=False)  # those with sentences; object ids count them from 1

    def __post_init__(self):
        object.__setattr__(self, "objects", tuple(t for t in self.things if t.sentences))


def curve(points: np.ndarray, time: float) -> np.ndarray:
    """The point at a time on the Catmull-Rom spline through way points [K, D].

    >>> curve(np.array([[0.0], [1.0], [2.0]]), 0.25).tolist()
    [0.5]
    """
    if len(points) == 1:
        return points[0]
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    place = min(max(time, 0.0), 1.0) * (len(points) - 1)
    i = min(int(place), len(points) - 2)
    a, b, c, d = padded[i : i + 4]
    u = place - i
    return b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
