"""What the sentences of `shapes` say, judged by the rendered ids, not by the code that writes them."""

import re

import cv2
import numpy as np

from rvos_ensemble.adapters.datasets.shapes.sentences import VOCABULARY

HEIGHTS = np.array([128 / 72, 1])  # (x, y) of the frame in frame heights


class Seen:
    """What the ids of a clip show about each of its objects; paths are not used."""

    def __init__(self, ids: np.ndarray, count: int, columns: bool = False):
        masks = np.stack([ids == k for k in range(1, count + 1)], axis=1)  # [T, N, H, W]
        self.areas = masks.sum((2, 3))
        h, w = ids.shape[1:]
        x = (masks.sum(2) * (np.arange(w) + 0.5)).sum(2) / np.maximum(self.areas, 1) / w
        y = (masks.sum(3) * (np.arange(h) + 0.5)).sum(2) / np.maximum(self.areas, 1) / h
        self.centres = np.stack([x, y], axis=2)  # [T, N, 2]; meaningless without area
        self.edge = np.stack(
            [masks[:, :, 0].any(2), masks[:, :, -1].any(2), masks[..., 0].any(2), masks[..., -1].any(2)]
        ).any(0)  # [T, N]: touches the edge of the frame
        near = [[cv2.dilate(m.view(np.uint8), np.ones((5, 5))).astype(bool) for m in frame] for frame in masks]
        self.meets = np.array(
            [[not np.isin(ids[t][n], (0, k)).all() for k, n in enumerate(row, 1)] for t, row in enumerate(near)]
        )  # [T, N]: another object is next to it
        self.free = ~self.meets & ~self.edge & (self.areas > 0)  # nothing hides a part of it
        self.columns = columns
        if columns:  # they are not in the ids
            self.free &= self.areas > 0.9 * self.areas.max(0)

    def all_free(self, k: int) -> bool:
        return bool(self.free[self.areas[:, k] > 0, k].all())

    def path(self, k: int) -> np.ndarray:
        """Centres in the frames that show the object, [t, 2]."""
        return self.centres[self.areas[:, k] > 0, k]

    def shift(self, k: int) -> np.ndarray:
        path = self.path(k) * HEIGHTS
        return path[-1] - path[0]

    def far(self, k: int) -> float:
        path = self.path(k) * HEIGHTS
        return float(np.hypot(*(path - path[0]).T).max())


def returned(seen: Seen, k: int) -> float:
    path = seen.path(k) * HEIGHTS
    away = np.hypot(*(path - path[0]).T)
    return float(1 - away[-1] / max(away.max(), 0.12)) if away.max() > 0.12 else 0.0


def growth(seen: Seen, k: int) -> float:
    """Growth of the area from the first to the last frame, in octaves."""
    return float(np.log2(seen.areas[-1, k] / seen.areas[0, k]))


def gone(seen: Seen, k: int, when=slice(None)) -> float:
    """The largest share of the object's area that is missing in any of these frames."""
    return float(1 - seen.areas[when, k].min() / seen.areas[:, k].max())


def cut(seen: Seen, k: int, when=slice(None)) -> bool:
    """Whether almost nothing of it remains at the edge in one of these frames; a hidden object has not left."""
    alone = seen.edge[when, k] & ~seen.meets[when, k]
    return not seen.columns and bool((alone & (seen.areas[when, k] < 0.03 * seen.areas[:, k].max())).any())


# claim: (how much of it an object shows, how much is enough, how much a namesake may show at most)
MEANINGS = {
    "that moves to the left": (lambda s, k: -s.shift(k)[0], 0.25, 0.25),
    "that moves to the right": (lambda s, k: s.shift(k)[0], 0.25, 0.25),
    "that moves up": (lambda s, k: -s.shift(k)[1], 0.25, 0.25),
    "that moves down": (lambda s, k: s.shift(k)[1], 0.25, 0.25),
    "that turns back": (returned, 0.45, 0.45),
    "that stays in place": (lambda s, k: -s.far(k), -0.15, -0.15),
    "that hardly moves": (lambda s, k: -s.far(k), -0.15, -0.15),
}
GONE = {"that leaves and comes back": slice(None), "that leaves": -1, "that enters": 0, "that comes in": 0}
for _axis, _low, _high in ((0, "on the left", "on the right"), (1, "at the top", "at the bottom")):
    for _where, _sign in ((_low, -1), (_high, 1)):

        def at(s, k, t, axis=_axis, sign=_sign):
            return sign * (s.centres[t, k, axis] - 0.5)

        starts = f"that is {_where} at first" if _axis == 0 else f"that starts {_where}"
        MEANINGS[starts] = (lambda s, k, at=at: at(s, k, 0) if s.areas[0, k] else -9, 0.05, 0.05)
        MEANINGS[f"that ends {_where}"] = (lambda s, k, at=at: at(s, k, -1) if s.areas[-1, k] else -9, 0.05, 0.05)
        if _axis == 0:
            MEANINGS[f"that is {_where} at the end"] = MEANINGS[f"that ends {_where}"]
        MEANINGS[_where] = (
            lambda s, k, at=at: min(at(s, k, t) for t in np.flatnonzero(s.areas[:, k])), 0.0, 0.0,
        )  # fmt: skip
GROWTH = {"that comes closer": 1, "that gets larger": 1, "that goes away": -1, "that gets smaller": -1}


def parse(text: str) -> tuple[str, str]:
    """(noun, claim about it) of a sentence.

    >>> parse("the fastest red star"), parse("the dotted one that leaves"), parse("the thing at the top")
    (('red star', 'fastest'), ('dotted one', 'that leaves'), ('thing', 'at the top'))
    """
    match = re.fullmatch(r"the (?:(\w+est) )?(.+?)(?: ((?:that|at|on) .+))?", text)
    return match[2], match[1] or match[3] or ""


def named(noun: str, appearances) -> list[int]:
    """Objects (from 0) whose appearance has every word of the noun."""
    words = [word for word in noun.split() if word not in ("one", "thing")]
    return [k for k, a in enumerate(appearances) if all(w in (a.shape, a.colour, a.pattern) for w in words)]


def check_sentence(seen: Seen, scene, text: str, by_appearance: bool, own: int) -> str:
    """Asserts that a sentence is true of an object, numbered from 1, and of no other; returns its claim."""
    appearances = [thing.appearance for thing in scene.objects]
    k, (noun, what) = own - 1, parse(text)
    fit = named(noun, appearances)
    assert k in fit and set(text.split()) <= set(VOCABULARY), text
    others = [j for j in fit if j != k and seen.areas[:, j].any()]
    where = f"{scene.name}: object {own}, {text!r}"
    if not what:
        assert fit == [k] and by_appearance, where
    elif what in MEANINGS:
        measure, enough, most = MEANINGS[what]
        assert by_appearance == (not what.startswith("that")), where
        value = measure(seen, k)
        slack = 0 if seen.all_free(k) else 0.2  # the centre of what is seen is not quite its centre
        assert value >= enough - slack, f"{where}: {value}"
        for j in others:
            if seen.all_free(j):  # else its centre is not that of its pixels
                also = f"{where}: also {j + 1}: {measure(seen, j)} beside {value}"
                assert measure(seen, j) <= min(most, value), also
    elif what in GONE:
        assert gone(seen, k, GONE[what]) > 0.9 and not any(cut(seen, j, GONE[what]) for j in others), where
        if what == "that leaves and comes back":
            assert seen.areas[[0, -1], k].all() and gone(seen, k, slice(1, -1)) > 0.9, where
    elif what == "that stays in view":
        assert seen.areas[:, k].all() and all(seen.edge[:, j].any() or gone(seen, j) == 1 for j in others), where
    elif what == "that is hidden for a while":
        assert gone(seen, k) > 0.9 and seen.areas[[0, -1], k].all(), where
        assert not seen.edge[seen.areas[:, k].argmin(), k], where
    elif what.startswith("that passes"):
        assert not by_appearance, where
        covered = (np.delete(seen.areas, k, axis=1) == 0).any(1)  # or hidden, and hides another altogether
        assert "column" in what or (seen.meets[:, k] | covered)[1:-1].any(), where
        ends = seen.areas[[0, -1], k]
        steady = len(scene.objects[k].radius) == 1 and seen.free[[0, -1], k].all()
        if "behind" in what and steady:
            assert seen.areas[:, k].min() < 0.85 * ends.min(), where
    elif what in GROWTH:
        if seen.free[[0, -1], k].all():
            assert GROWTH[what] * growth(seen, k) > 0.9, where
        for j in others:
            if seen.free[[0, -1], j].all():
                assert GROWTH[what] * growth(seen, j) < 0.9, where
    elif what in ("largest", "smallest"):
        for j in others:
            both = seen.free[:, [k, j]].all(1)
            larger = seen.areas[both, k] > seen.areas[both, j]
            assert (larger == (what == "largest")).all(), where
    elif what == "fastest":
        lengths = {i: np.hypot(*np.diff(seen.path(i) * HEIGHTS, axis=0).T).sum() for i in (k, *others)}
        if seen.all_free(k):
            assert all(lengths[k] > lengths[j] for j in others if seen.all_free(j)), where
    elif what in ("that spins", "that does not turn"):  # ids do not show it, but the scene does
        turns = {i: abs(scene.objects[i].turn) for i in (k, *others)}
        assert turns[k] == (max if "spins" in what else min)(turns.values()), where
        assert (turns[k] > 2) == ("spins" in what), where
    return what
