"""Claims about the objects of a clip of `shapes`, derived from what its frames show.

A claim knows for which objects it certainly holds, and for which others it might be understood to hold. An object that
moves a little to the left is not "the one that moves to the left", but as long as it is present, no other object with
the same noun phrase is called that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.render import Picture
from rvos_ensemble.adapters.datasets.shapes.things import COLUMN, Scene

WIDE = 16 / 9  # approximate frame width in frame heights, for lengths of paths
SEEN, HARDLY = 0.3, 0.02  # visible fractions of an object: its position is clear; it counts as visible at all
# rotational symmetry of the shapes
FOLDS = {"disc": 4, "square": 4, "star": 5, "triangle": 3, "flower": 5, "oval": 2, "cross": 4}


@dataclass(frozen=True)
class Tracks:
    """What T frames show of N objects.

    Attributes:
        places: float [T, N, 2], (x, y) in units of the frame; of a hidden object, the last visible position.
        side: float [T, N], square root of the area of the outline, in frame heights.
        inside: float [T, N], fraction of the outline that lies inside the frame.
        seen: float [T, N], fraction of the outline that is visible.
        hides: float [T, M + 1, N], fraction of the outline that thing a (from 1, back to front) hides.
        turns: float [N], rotation between the first and the last frame.
    """

    places: np.ndarray
    side: np.ndarray
    inside: np.ndarray
    seen: np.ndarray
    hides: np.ndarray
    turns: np.ndarray

    @classmethod
    def of(cls, scene: Scene, times: np.ndarray, pictures: Sequence[Picture]) -> Tracks:
        """Measures rendered frames."""
        count, rows = len(scene.objects), pictures[0].ids.shape[0]
        things = [k for k, thing in enumerate(scene.things, 1) if thing.appearance.shape != COLUMN]
        whole = np.stack([p.whole for p in pictures])
        seen = np.stack([np.bincount(p.ids.ravel(), minlength=count + 1)[1:] for p in pictures]) / whole
        places = np.stack([p.places for p in pictures])
        for column, visible in enumerate((seen >= HARDLY).T):
            if visible.any():
                last = np.maximum.accumulate(np.where(visible, np.arange(len(visible)), -1))
                places[:, column] = places[np.where(last < 0, visible.argmax(), last), column]
        return cls(
            places=places,
            side=np.sqrt(whole) / rows,
            inside=np.stack([p.areas for p in pictures]) / whole,
            seen=seen,
            hides=np.stack([p.over[:, things] for p in pictures]) / whole[:, None],
            turns=np.array([thing.turn for thing in scene.objects]) * (times[-1] - times[0]),
        )


@dataclass(frozen=True)
class Claim:
    """A statement about objects.

    Attributes:
        words: words that follow the noun, or a superlative that precedes it.
        sure: bool [N], for which objects it certainly holds.
        rivals: bool [N, N], whether object j could be meant when object k is.
        by_appearance: whether a single frame shows it.
        of_scenery: whether it could hold for a column too, which "the one" would then include.
    """

    words: str
    sure: np.ndarray
    rivals: np.ndarray
    by_appearance: bool = False
    of_scenery: bool = False

    def phrase(self, noun: str) -> str:
        """The claim as a noun phrase."""
        return f"the {self.words} {noun}" if self.words.endswith("est") else f"the {noun} {self.words}"


def claims(scene: Scene, tracks: Tracks) -> list[Claim]:
    """All claims about the objects."""
    return [*_places(tracks), *_ways(scene, tracks), *_sizes(tracks), *_frame(tracks), *_hiding(scene, tracks)]


def _claim(words: str, value: np.ndarray, sure: float, never: float, also=True, **more) -> Claim:
    """A claim that holds if the value is at least `sure` (and `also`); objects with values above `never` are rivals."""
    return Claim(words, (value >= sure) & also, np.broadcast_to(value > never, (len(value),) * 2), **more)


def _places(tracks: Tracks) -> list[Claim]:
    x, y = tracks.places[..., 0], tracks.places[..., 1]
    starts, ends = tracks.seen[0] >= SEEN, tracks.seen[-1] >= SEEN
    result = []
    for always, first, end, p in (
        (
            "on the left",
            "that is on the left at first",
            ("that ends on the left", "that is on the left at the end"),
            1 - x,
        ),
        (
            "on the right",
            "that is on the right at first",
            ("that ends on the right", "that is on the right at the end"),
            x,
        ),
        ("at the top", "that starts at the top", ("that ends at the top",), 1 - y),
        ("at the bottom", "that starts at the bottom", ("that ends at the bottom",), y),
    ):
        sure, never = 0.62, 0.48
        low, high = p.min(0), p.max(0)
        result.append(Claim(always, low >= sure, np.broadcast_to(high > never, (len(low),) * 2), True, True))
        moved = high - low > 0.15  # otherwise the position does not depend on time
        result.append(_claim(first, p[0], sure, never, starts & moved, of_scenery=True))
        for words in end:
            result.append(_claim(words, p[-1], sure, never, ends & moved, of_scenery=True))
    return result


def _ways(scene: Scene, tracks: Tracks) -> list[Claim]:
    steps = tracks.places * [WIDE, 1]
    dx, dy = (steps[-1] - steps[0]).T
    away = np.hypot(*np.moveaxis(steps - steps[0], -1, 0))  # [T, N] from the start
    far, net = away.max(0), away[-1]
    length = np.hypot(*np.moveaxis(np.diff(steps, axis=0), -1, 0)).sum(0)
    clear = _clear_ends(tracks)
    result = [
        _claim(f"that moves {way}", way_by, 0.35, 0.15, clear & (way_by > 0.8 * across))
        for way, way_by, across in (
            ("to the left", -dx, abs(dy)),
            ("to the right", dx, abs(dy)),
            ("up", -dy, abs(dx)),
            ("down", dy, abs(dx)),
        )
    ]
    returned = np.where(far >= 0.12, 1 - net / np.maximum(far, 0.12), 0)
    result.append(_claim("that turns back", returned, 0.6, 0.25, clear & (far >= 0.35)))
    stays = (tracks.seen >= SEEN).mean(0) > 0.6
    for words in ("that stays in place", "that hardly moves"):
        result.append(_claim(words, -far, -0.09, -0.22, stays, of_scenery=True))
    faster = length[:, None] < 1.6 * length  # [k, j]: j is nearly as fast as k
    result.append(Claim("fastest", clear & (length > 0.4), faster))
    turn, shows = abs(tracks.turns), _shows_turning(scene, tracks)
    result.append(_claim("that spins", turn, 2.2, 1.2, shows))
    result.append(_claim("that does not turn", np.where(shows, -turn, 0), -0.15, -1.0, shows, of_scenery=True))
    return result


def _clear_ends(tracks: Tracks) -> np.ndarray:
    """Which objects are clearly visible in the first and in the last frame that shows them."""
    seen = tracks.seen >= HARDLY
    first, last = seen.argmax(0), len(seen) - 1 - seen[::-1].argmax(0)
    each = np.arange(seen.shape[1])
    return (tracks.seen[first, each] >= SEEN) & (tracks.seen[last, each] >= SEEN)


def _shows_turning(scene: Scene, tracks: Tracks) -> np.ndarray:
    """Which objects change visibly when they turn, and do not coincide with themselves from frame to frame."""
    result = []
    for thing, turn in zip(scene.objects, tracks.turns, strict=True):
        fold = 2 * np.pi / FOLDS[thing.appearance.shape]
        step = abs(turn) / max(len(tracks.seen) - 1, 1)
        aliased = step > 0.2 and abs((step + fold / 2) % fold - fold / 2) < 0.2
        smooth = thing.appearance.shape == "disc" and thing.appearance.pattern in ("ringed", "plain")
        result.append(not (aliased or smooth))
    return np.array(result)


def _sizes(tracks: Tracks) -> list[Claim]:
    ratio = np.log2(tracks.side[-1] / tracks.side[0])
    ends = (tracks.seen[0] >= SEEN) & (tracks.seen[-1] >= SEEN)
    result = [
        _claim(f"that {words}", sign * ratio, 0.6, 0.3, ends)
        for words, sign in (("comes closer", 1), ("gets larger", 1), ("goes away", -1), ("gets smaller", -1))
    ]
    times = (tracks.side[:, :, None] / tracks.side[:, None]).min(0)  # [k, j]: the smallest ratio of sizes over time
    best = tracks.seen.max(0)
    whole = best >= 0.85
    unclear = ~whole & (best >= HARDLY)  # the size of an object that is never entirely visible is unknown
    result.append(Claim("largest", whole, (times < 1.2) | unclear, True, True))
    result.append(Claim("smallest", whole, (times.T < 1.2) | unclear, True))
    return result


def _frame(tracks: Tracks) -> list[Claim]:
    first, least, last = tracks.inside[0], tracks.inside.min(0), tracks.inside[-1]
    starts, ends = tracks.seen[0] >= SEEN, tracks.seen[-1] >= SEEN
    return [
        _claim("that leaves and comes back", -least, -0.02, -0.5, starts & ends),
        _claim("that stays in view", least, 0.95, 0.6, tracks.seen.min(0) >= SEEN, of_scenery=True),
        _claim("that leaves", -last, -0.02, -0.5, starts),
        _claim("that enters", -first, -0.02, -0.5, ends),
        _claim("that comes in", -first, -0.02, -0.5, ends),
    ]


def _hiding(scene: Scene, tracks: Tracks) -> list[Claim]:
    things = [k for k, thing in enumerate(scene.things, 1) if thing.appearance.shape != COLUMN]
    columns = [k for k, thing in enumerate(scene.things, 1) if thing.appearance.shape == COLUMN]
    starts, ends = tracks.seen[0] >= 0.6, tracks.seen[-1] >= 0.6
    passes = starts & ends & ((tracks.seen >= SEEN).mean(0) < 1)
    gone = np.where(tracks.inside > 0.99, tracks.seen, 1).min(0)
    result = [_claim("that is hidden for a while", -gone, -0.05, -0.4, passes)]
    by_objects = tracks.hides[:, things]  # [T, a, b]
    for words, most in (
        ("that passes in front of another", by_objects.max((0, 2))),
        ("that passes behind another", by_objects.max((0, 1))),
    ):
        meets = by_objects.max(2) if "front" in words else by_objects.max(1)  # [T, N]
        result.append(_claim(words, most, 0.25, 0.04, (meets[0] < 0.02) & (meets[-1] < 0.02)))
    if len(columns) == 1:
        behind = tracks.hides[:, columns[0]]
        clear = (behind[0] < 0.02) & (behind[-1] < 0.02) & starts & ends
        result.append(_claim("that passes behind the column", behind.max(0), 0.4, 0.04, clear))
    return result
