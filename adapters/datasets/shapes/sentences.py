"""Sentences about a clip of `shapes`: made from what is seen to happen in it, each true of one object alone.

A sentence is a noun phrase ("the red star", "the one") and what is said of it ("that turns back"). Every claim knows
of which objects it surely holds, and which others could be meant: an object that moves a little to the left is not
"the one that moves to the left", and while it is there no other of the same noun phrase is called so either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.render import Picture
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, COLUMN, PATTERNS, SHAPES, Look, Scene

VOCABULARY: tuple[str, ...] = (
    *("the", "one", "thing", "that", "is", "on", "at", "to", "of", "in", "and", "not"),
    *SHAPES,
    *COLOURS,
    *PATTERNS,
    *("left", "right", "top", "bottom", "up", "down", "first", "end"),
    *("largest", "smallest", "fastest", "larger", "smaller", "closer"),
    *("moves", "goes", "turns", "turn", "back", "stays", "place", "hardly", "does", "spins"),
    *("leaves", "comes", "view", "away", "gets", "starts", "ends", "enters"),
    *("passes", "behind", "front", "another", "column", "hidden", "for", "a", "while"),
)
WIDE = 16 / 9  # frame widths in frame heights, about: for lengths of paths


@dataclass(frozen=True)
class Sentence:
    """An expression. `by_look`: one frame is enough to understand it; otherwise one has to watch the motion."""

    text: str
    by_look: bool


@dataclass(frozen=True)
class Tracks:
    """What is seen of N objects in T frames.

    Attributes:
        places: float [T, N, 2], (x, y) in units of the frame; of a frame without the object, where it was seen last.
        side: float [T, N], root of the area of the outline, in frame heights.
        inside: float [T, N], share of the outline that lies inside the frame.
        seen: float [T, N], share of the outline that is seen.
        hides: float [T, M + 1, N], share of the outline that thing a (from 1, back to front) hides.
        turns: float [N], angle between first and last frame.
    """

    places: np.ndarray
    side: np.ndarray
    inside: np.ndarray
    seen: np.ndarray
    hides: np.ndarray
    turns: np.ndarray

    @classmethod
    def of(cls, scene: Scene, times: np.ndarray, pictures: Sequence[Picture]) -> Tracks:
        """Takes the measures of drawn pictures."""
        count, rows = len(scene.objects), pictures[0].ids.shape[0]
        things = [k for k, thing in enumerate(scene.things, 1) if thing.look.shape != COLUMN]
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


SEEN, HARDLY = 0.3, 0.02  # shares of an object that have to be seen, to say where it is; and to call it seen at all
ANY = ("one", "thing")  # nouns that fit every object
FOLDS = {"disc": 4, "square": 4, "star": 5, "triangle": 3, "flower": 5, "oval": 2, "cross": 4}  # symmetry of shapes


@dataclass(frozen=True)
class Claim:
    """Something said of objects.

    Attributes:
        words: that follow the noun, or a superlative that precedes it.
        sure: bool [N], of which objects it holds.
        rivals: bool [N, N], whether object j could be meant where object k is.
        by_look: whether any frame shows it.
        of_scenery: whether it could hold of a column too, which is then "the one" as much as any object.
    """

    words: str
    sure: np.ndarray
    rivals: np.ndarray
    by_look: bool = False
    of_scenery: bool = False

    def phrase(self, noun: str) -> str:
        return f"the {self.words} {noun}" if self.words.endswith("est") else f"the {noun} {self.words}"


def describe(scene: Scene, tracks: Tracks, rng: np.random.Generator, most: int = 4) -> list[list[Sentence]]:
    """Sentences about every object, half of them about motion where there are any; an object may remain without.

    Args:
        scene: what was drawn.
        tracks: what is seen of it.
        rng: chooses.
        most: sentences an object.
    """
    looks = [thing.look for thing in scene.objects]
    column = len(scene.objects) < len(scene.things)
    all_ = claims(scene, tracks)
    shown = ((tracks.seen >= SEEN).mean(0) >= 0.3) & (np.median(tracks.side, axis=0) > 0.06)
    found = []
    for k in range(len(looks)):
        if not shown[k]:
            found.append([])
            continue
        order = np.argsort(rng.random(len(all_)) + [0.5 * claim.of_scenery for claim in all_])  # what moves comes first
        said = [s for i in order if (s := _about(k, all_[i], looks, column, rng))]
        named = [Sentence(f"the {noun}", True) for noun, same in _nouns(looks, k) if len(same) == 1]
        by_look = [s for s in said if s.by_look] + named
        by_look = [by_look[i] for i in rng.permutation(len(by_look))]
        by_motion = [s for s in said if not s.by_look]
        take = max(most // 2, most - len(by_motion))
        found.append(by_look[:take] + by_motion[: most - min(take, len(by_look))])
    return found


def _about(k: int, claim: Claim, looks: list[Look], column: bool, rng) -> Sentence | None:
    """The claim about object k, with a noun that fits others too, so that the claim is needed to understand it."""
    if not claim.sure[k]:
        return None
    nouns = _nouns(looks, k)[len(ANY) if column and claim.of_scenery else 0 :]
    for i in rng.permutation(len(nouns)):
        noun, same = nouns[i]
        if len(same) > 1 and not any(claim.rivals[k, j] for j in same if j != k):
            return Sentence(claim.phrase(noun), claim.by_look)
    return None


def _nouns(looks: list[Look], k: int) -> list[tuple[str, list[int]]]:
    """Names for object k, and which objects each of them fits."""
    shape, colour, pattern = looks[k].shape, looks[k].colour, looks[k].pattern
    names = (
        *((name, ()) for name in ANY), (shape, (0,)), (f"{colour} one", (1,)), (f"{colour} {shape}", (0, 1)),
        (f"{pattern} one", (2,)), (f"{pattern} {shape}", (0, 2)), (f"{pattern} {colour} {shape}", (0, 1, 2)),
    )  # fmt: skip
    traits = [(look.shape, look.colour, look.pattern) for look in looks]
    return [(name, [j for j, t in enumerate(traits) if all(t[a] == traits[k][a] for a in use)]) for name, use in names]


def claims(scene: Scene, tracks: Tracks) -> list[Claim]:
    """Everything that can be said of the objects."""
    return [*_places(tracks), *_ways(scene, tracks), *_sizes(tracks), *_frame(tracks), *_hiding(scene, tracks)]


def _claim(words: str, value: np.ndarray, sure: float, never: float, also=True, **more) -> Claim:
    """Holds where the value is at least `sure` (and `also`); an object whose value is above `never` is a rival."""
    return Claim(words, (value >= sure) & also, np.broadcast_to(value > never, (len(value),) * 2), **more)


def _places(tracks: Tracks) -> list[Claim]:
    x, y = tracks.places[..., 0], tracks.places[..., 1]
    starts, ends = tracks.seen[0] >= SEEN, tracks.seen[-1] >= SEEN
    found = []
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
        found.append(Claim(always, low >= sure, np.broadcast_to(high > never, (len(low),) * 2), True, True))
        moved = high - low > 0.15  # otherwise there is nothing to say about time
        found.append(_claim(first, p[0], sure, never, starts & moved, of_scenery=True))
        for words in end:
            found.append(_claim(words, p[-1], sure, never, ends & moved, of_scenery=True))
    return found


def _ways(scene: Scene, tracks: Tracks) -> list[Claim]:
    steps = tracks.places * [WIDE, 1]
    dx, dy = (steps[-1] - steps[0]).T
    away = np.hypot(*np.moveaxis(steps - steps[0], -1, 0))  # [T, N] from the start
    far, net = away.max(0), away[-1]
    length = np.hypot(*np.moveaxis(np.diff(steps, axis=0), -1, 0)).sum(0)
    clear = _clear_ends(tracks)
    found = [
        _claim(f"that moves {way}", way_by, 0.35, 0.15, clear & (way_by > 0.8 * across))
        for way, way_by, across in (
            ("to the left", -dx, abs(dy)),
            ("to the right", dx, abs(dy)),
            ("up", -dy, abs(dx)),
            ("down", dy, abs(dx)),
        )
    ]
    returned = np.where(far >= 0.12, 1 - net / np.maximum(far, 0.12), 0)
    found.append(_claim("that turns back", returned, 0.6, 0.25, clear & (far >= 0.35)))
    stays = (tracks.seen >= SEEN).mean(0) > 0.6
    for words in ("that stays in place", "that hardly moves"):
        found.append(_claim(words, -far, -0.09, -0.22, stays, of_scenery=True))
    faster = length[:, None] < 1.6 * length  # [k, j]: j is nearly as fast as k
    found.append(Claim("fastest", clear & (length > 0.4), faster))
    turn, shows = abs(tracks.turns), _shows_turning(scene, tracks)
    found.append(_claim("that spins", turn, 2.2, 1.2, shows))
    found.append(_claim("that does not turn", np.where(shows, -turn, 0), -0.15, -1.0, shows, of_scenery=True))
    return found


def _clear_ends(tracks: Tracks) -> np.ndarray:
    """Which objects are seen well in the first and in the last frame that shows them."""
    seen = tracks.seen >= HARDLY
    first, last = seen.argmax(0), len(seen) - 1 - seen[::-1].argmax(0)
    each = np.arange(seen.shape[1])
    return (tracks.seen[first, each] >= SEEN) & (tracks.seen[last, each] >= SEEN)


def _shows_turning(scene: Scene, tracks: Tracks) -> np.ndarray:
    """Which objects would look different after turning, and do not come to lie on themselves from frame to frame."""
    found = []
    for thing, turn in zip(scene.objects, tracks.turns, strict=True):
        fold = 2 * np.pi / FOLDS[thing.look.shape]
        step = abs(turn) / max(len(tracks.seen) - 1, 1)
        aliased = step > 0.2 and abs((step + fold / 2) % fold - fold / 2) < 0.2
        smooth = thing.look.shape == "disc" and thing.look.pattern in ("ringed", "plain")
        found.append(not (aliased or smooth))
    return np.array(found)


def _sizes(tracks: Tracks) -> list[Claim]:
    ratio = np.log2(tracks.side[-1] / tracks.side[0])
    ends = (tracks.seen[0] >= SEEN) & (tracks.seen[-1] >= SEEN)
    found = [
        _claim(f"that {words}", sign * ratio, 0.6, 0.3, ends)
        for words, sign in (("comes closer", 1), ("gets larger", 1), ("goes away", -1), ("gets smaller", -1))
    ]
    times = (tracks.side[:, :, None] / tracks.side[:, None]).min(0)  # [k, j]: at least so many times larger
    best = tracks.seen.max(0)
    whole = best >= 0.85
    unclear = ~whole & (best >= HARDLY)  # nobody can tell the size of what is never seen whole
    found.append(Claim("largest", whole, (times < 1.2) | unclear, True, True))
    found.append(Claim("smallest", whole, (times.T < 1.2) | unclear, True))
    return found


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
    things = [k for k, thing in enumerate(scene.things, 1) if thing.look.shape != COLUMN]
    columns = [k for k, thing in enumerate(scene.things, 1) if thing.look.shape == COLUMN]
    starts, ends = tracks.seen[0] >= 0.6, tracks.seen[-1] >= 0.6
    passes = starts & ends & ((tracks.seen >= SEEN).mean(0) < 1)
    gone = np.where(tracks.inside > 0.99, tracks.seen, 1).min(0)
    found = [_claim("that is hidden for a while", -gone, -0.05, -0.4, passes)]
    by_objects = tracks.hides[:, things]  # [T, a, b]
    for words, most in (
        ("that passes in front of another", by_objects.max((0, 2))),
        ("that passes behind another", by_objects.max((0, 1))),
    ):
        meets = by_objects.max(2) if "front" in words else by_objects.max(1)  # [T, N]
        found.append(_claim(words, most, 0.25, 0.04, (meets[0] < 0.02) & (meets[-1] < 0.02)))
    if len(columns) == 1:
        behind = tracks.hides[:, columns[0]]
        clear = (behind[0] < 0.02) & (behind[-1] < 0.02) & starts & ends
        found.append(_claim("that passes behind the column", behind.max(0), 0.4, 0.04, clear))
    return found
