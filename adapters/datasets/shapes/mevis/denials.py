"""Claims that certainly do not hold for an object of a clip of `shapes`, not even for a part of the clip.

These margins are wider than those of `claims`: an object that sets out to the left and comes back has not "moved to the
left", but somebody might say so, and an expression that refers to nothing must leave no doubt.
"""

from __future__ import annotations

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.claims import SEEN, WIDE, Claim, Tracks
from rvos_ensemble.adapters.datasets.shapes.sentences import shown
from rvos_ensemble.adapters.datasets.shapes.things import COLUMN, Scene

INSIDE, OUTSIDE = 0.9, 0.02  # fractions of the outline inside the frame: never left it; has left it
PART = 4  # "at first" and "at the end" are no more than this fraction of a clip
MOST_TIMES = 64  # at which pairs of frames are compared


def denials(scene: Scene, tracks: Tracks, claims: list[Claim]) -> dict[str, np.ndarray]:
    """{words of a claim: bool [N], for which objects it certainly does not hold}.

    Superlatives are not contained, because among objects of one name one is always the largest; nor are "that comes
    closer" and "that goes away", which may also be said of an object that approaches another or leaves.

    Args:
        scene: the rendered scene.
        tracks: what its frames show.
        claims: all claims about its objects.
    """
    denied = {**_places(tracks), **_ways(tracks), **_turning(tracks, claims), **_sizes(tracks), **_frame(tracks)}
    denied |= _hiding(scene, tracks)
    could_hold = {claim.words: claim.sure | claim.rivals.any(0) for claim in claims}
    known = (tracks.seen >= SEEN) | (tracks.inside <= OUTSIDE)  # elsewhere it is hidden: its place cannot be seen
    clear = shown(tracks) & known[0] & known[-1]
    return {words: no & clear & ~could_hold[words] for words, no in denied.items() if words in could_hold}


def _places(tracks: Tracks) -> dict[str, np.ndarray]:
    x, y = tracks.places[..., 0], tracks.places[..., 1]
    part = max(len(x) // PART, 1)
    result = {}
    for where, p, starts, ends in (
        ("on the left", 1 - x, "is on the left at first", ("ends on the left", "is on the left at the end")),
        ("on the right", x, "is on the right at first", ("ends on the right", "is on the right at the end")),
        ("at the top", 1 - y, "starts at the top", ("ends at the top",)),
        ("at the bottom", y, "starts at the bottom", ("ends at the bottom",)),
    ):
        never = 0.42
        result[where] = p.max(0) <= never
        result[f"that {starts}"] = p[:part].max(0) <= never
        result |= {f"that {words}": p[-part:].max(0) <= never for words in ends}
    return result


def _ways(tracks: Tracks) -> dict[str, np.ndarray]:
    steps = (tracks.places * [WIDE, 1])[_times(len(tracks.places))]
    x, y = steps[..., 0], steps[..., 1]
    ways = {"to the left": -x, "to the right": x, "up": -y, "down": y}
    result = {f"that moves {way}": _most_rise(p) <= 0.15 for way, p in ways.items()}
    back, far = np.zeros(x.shape[1], bool), 0.0
    for s in range(len(steps)):  # from any place on its path, not only from the first
        away = np.hypot(*np.moveaxis(steps[s:] - steps[s], -1, 0))
        farthest = np.maximum.accumulate(away)
        back |= ((farthest >= 0.12) & (farthest - away > 0.25 * farthest)).any(0)
        far = np.maximum(far, farthest[-1])
    still = far >= 0.3
    return {**result, "that turns back": ~back, "that stays in place": still, "that hardly moves": still}


def _turning(tracks: Tracks, claims: list[Claim]) -> dict[str, np.ndarray]:
    turn, clear = abs(tracks.turns), tracks.seen >= SEEN
    span = len(clear) - clear.argmax(0) - clear[::-1].argmax(0) - 1  # steps from its first to its last clear frame
    visible = turn * span / max(len(clear) - 1, 1)
    hides_turning = next(claim.rivals for claim in claims if claim.words == "that does not turn").any(0)
    return {"that spins": turn < 0.8, "that does not turn": (visible > 1.6) & ~hides_turning}


def _sizes(tracks: Tracks) -> dict[str, np.ndarray]:
    octaves = np.log2(np.maximum(tracks.side, 1e-6))
    whole = tracks.inside.min(0) >= INSIDE  # otherwise its visible part changes
    return {
        "that gets larger": (_most_rise(octaves) <= 0.25) & whole,
        "that gets smaller": (_most_rise(-octaves) <= 0.25) & whole,
    }


def _frame(tracks: Tracks) -> dict[str, np.ndarray]:
    inside = tracks.inside
    out = inside < 0.5
    once = (out[1:] != out[:-1]).sum(0) == 1
    stays = inside.min(0) >= INSIDE
    only_leaves = once & (inside[0] >= INSIDE) & (inside[-1] <= OUTSIDE)
    only_enters = once & (inside[0] <= OUTSIDE) & (inside[-1] >= INSIDE)
    return {
        "that leaves and comes back": stays | only_leaves | only_enters,
        "that stays in view": inside.min(0) <= OUTSIDE,
        "that leaves": stays | only_enters,
        "that enters": stays | only_leaves,
        "that comes in": stays | only_leaves,
    }


def _hiding(scene: Scene, tracks: Tracks) -> dict[str, np.ndarray]:
    columns = [k for k, thing in enumerate(scene.things, 1) if thing.appearance.shape == COLUMN]
    objects = [k for k, thing in enumerate(scene.things, 1) if thing.appearance.shape != COLUMN]
    hides = tracks.hides[:, objects].max((0, 2))
    hidden = tracks.hides[:, 1:].max((0, 1))
    return {
        "that is hidden for a while": tracks.seen.min(0) >= 0.6,
        # a column is another thing, too, and the tracks do not record what hides it
        "that passes in front of another": (hides == 0) & (not columns),
        "that passes behind another": hidden == 0,
        "that passes behind the column": tracks.hides[:, columns].sum((0, 1)) == 0,
    }


def _most_rise(values: np.ndarray) -> np.ndarray:
    """The largest increase between any two times, [T, N] -> [N].

    >>> _most_rise(np.array([[2.0], [1.0], [4.0], [0.0]]))
    array([3.])
    """
    return (values - np.minimum.accumulate(values)).max(0)


def _times(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_TIMES)).astype(int))
