"""Objects and scenes of `shapes`: appearances, paths, and filming conditions.

Positions are in units of the frame (x of its width, y of its height), sizes are radii in frame heights, angles are in
radians, and time runs from 0 to 1 over the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field

COLOURS = {
    "red": (214, 54, 60),
    "orange": (240, 138, 46),
    "yellow": (246, 210, 70),
    "green": (76, 162, 72),
    "teal": (30, 148, 150),
    "blue": (52, 96, 200),
    "purple": (126, 74, 176),
    "pink": (240, 134, 172),
    "brown": (128, 82, 50),
    "black": (44, 44, 50),
}
PATTERNS = ("striped", "dotted", "checkered", "ringed", "plain")
SHAPES = ("disc", "square", "star", "triangle", "flower", "oval", "cross")
COLUMN = "column"  # scenery: it hides objects, and no sentence is about it


@dataclass(frozen=True)
class Appearance:
    """Shape, colour and pattern: what a single frame shows of an object."""

    shape: str
    colour: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.pattern} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Thing:
    """Something that moves: an object, or scenery.

    Attributes:
        appearance: equal for twins.
        path: (x, y) way points, equally spaced in time, joined by a smooth curve.
        radius: way points of its size.
        turn: angle of its rotation over the clip.
        sway: bending of its outline over time, relative to the radius.
    """

    appearance: Appearance
    path: tuple[tuple[float, float], ...]
    radius: tuple[float, ...] = (0.17,)
    turn: float = 0.8
    sway: float = 0.05

    def at(self, time: float) -> tuple[float, float, float]:
        """(x, y, radius) at a time."""
        x, y = curve(self.path, time)
        return x, y, curve([(r,) for r in self.radius], time)[0]


@dataclass(frozen=True)
class Conditions:
    """How a scene is filmed.

    Attributes:
        pan: (x, y) by which the camera moves over the clip.
        zoom: relative amplitude of its slow zoom.
        shake: standard deviation of its shaking, in frame heights; it also rolls by two thirds of that, in radians.
        gain: change of brightness over the clip, in octaves.
        gamma: contrast; 1 does not change it.
        spot: strength of a light that moves over the scene.
        defocus: blur at the worst focus, standard deviation in frame heights.
        exposure: fraction of a frame's time for which the shutter is open; it causes motion blur.
        noise: of the sensor, standard deviation in grey levels.
    """

    pan: tuple[float, float] = (0.0, 0.0)
    zoom: float = 0.04
    shake: float = 0.004
    gain: float = 0.0
    gamma: float = 1.0
    spot: float = 0.0
    defocus: float = 0.0
    exposure: float = 0.0
    noise: float = 1.5


@dataclass(frozen=True)
class Scene:
    """A clip before it is drawn.

    Attributes:
        name: of the clip.
        things: back to front.
        conditions: how it is filmed.
        texture: seed of the background, of the textures and of the random camera motion.
    """

    name: str
    things: tuple[Thing, ...]
    conditions: Conditions = Conditions()
    texture: int = 0
    objects: tuple[Thing, ...] = field(init=False)  # without scenery; object ids are their positions, from 1

    def __post_init__(self):
        object.__setattr__(self, "objects", tuple(t for t in self.things if t.appearance.shape != COLUMN))


def curve(points, time: float) -> tuple[float, ...]:
    """The point at a time on the Catmull-Rom spline through K way points, each a tuple of D numbers.

    >>> curve([(0.0,), (1.0,), (2.0,)], 0.25)
    (0.5,)
    """
    last = len(points) - 1
    if not last:
        return tuple(map(float, points[0]))
    place = min(max(time, 0.0), 1.0) * last
    i = min(int(place), last - 1)
    u = place - i
    point = []
    for d in range(len(points[0])):
        b, c = points[i][d], points[i + 1][d]
        a = points[i - 1][d] if i else 2 * b - c
        e = points[i + 2][d] if i + 1 < last else 2 * c - b
        point.append(float(b + 0.5 * u * (c - a + u * (2 * a - 5 * b + 4 * c - e + u * (3 * (b - c) + e - a)))))
    return tuple(point)
