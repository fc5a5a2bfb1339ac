"""Key frames: which frames of a mask sequence to trust, so that propagation starts from them.

A rule is its name, or its name and settings: `argmax` or `{rule: top, k: 3, apart: 5}`.

    argmax     the frame with the highest score P; `rank: 1` takes the second best, and so on (ReferFormer; LSVOS 2022,
               2023)
    product    argmax over frames of the product of the models' scores (LSVOS 2022)
    top        the `k` best frames by score, at least `apart` frames from each other (UNINEXT-Cutie, LSVOS 2024)
    every      the best frame of every `frames` frames, by the product of the models' scores
    shots      the best frame of every shot, by the same score; a new shot begins where the colours of neighbouring
               frames differ by more than `distance` (SeC, memory_rules/scene_cut.py), for which all frames are decoded
    agreement  the frame on which the models' masks agree best: mean IoU of all pairs; a single model is compared with
               its own masks on the previous and next frame
    temporal   the frame around which each model's mask changes least in shape, and is not small
    soft       the frame on which the outline of each model's mask is least uncertain; not for binary masks
    confidence the frame whose final scores have the highest mean over the pixels, `over: frame` or `over: mask`; not
               for binary masks (URVOS's anchor)
    first      the first frame: for forward propagation only
    uniform    `k` frames spread evenly: the centres of k equal parts of the clip; `at: ends` includes both ends
    given      frames named by the source (`notes["key_frame"]`) or by a `key_frame.json`

For sources without usable scores, `without_scores: agreement` (or `temporal`, `soft`) names the rule that decides
instead; without it this is an error. `temporal`, `soft` and `confidence`, which `mask_quality.py` defines, are
multiplied over several models. Ties go to the earliest frame. Frames with an empty mask are no candidates unless
`skip_empty: false`. `top`, `every` and `shots` name several frames, the anchors from which an object that was lost is
found again; `min_score: 0.8` leaves out those with a lower score, except the best one.

Rules by score compare the `scores` of the models, or what a propagator stated about its masks, `by: predicted_iou` or
`by: object_score`; a frame about which it stated nothing, such as a key frame of its own, has 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.frames import uniform
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.propagators.core.key_frame_quality import HINT, NOT_NAMED, frame_quality, place
from rvos_ensemble.propagators.core.key_frame_settings import ONE_SCORE, checked_frames, frames_of_file, settings_of


@dataclass(frozen=True)
class KeyFrames:
    """The result of a rule.

    Attributes:
        frames: indices of the frames, ascending.
        rule: the rule that decided in the end.
        note: what the user should know about the choice; "" if the rule was applied as it is.
        cuts: first frames of the second shot and later ones, if the rule compares shots.
        quality: of all frames by that rule, float64 [T], higher is better; None if the rule does not compare them.
    """

    frames: tuple[int, ...]
    rule: str
    note: str = ""
    cuts: tuple[int, ...] = ()
    quality: np.ndarray | None = field(default=None, compare=False, repr=False)


def choose(
    rule: str | Mapping[str, Any],
    sequence: MaskSequence,
    sources: Mapping[str, MaskSequence] | None = None,
    *,
    clip: str = "",
    expression: str = "",
    shots: Callable[[float], Sequence[range]] | None = None,
) -> KeyFrames:
    """The key frames of a mask sequence.

    Args:
        rule: see the top of this file.
        sequence: the masks that will be propagated; they decide which frames are empty.
        sources: {name: masks} of the models whose scores or masks decide; None or {} for the sequence alone.
        clip, expression: their names, for error messages and for the lookup in a `key_frame.json`.
        shots: a function from a distance to the shots of the clip, such as `ClipShots`; only the rule `shots` calls it.

    Raises:
        InputError: wrong settings, missing or constant scores, a named frame outside the clip.
        ValueError: the rule `shots` without the argument `shots`.
    """
    where = place(clip, expression) if clip else "key_frame"
    settings = settings_of(rule, where)
    sources = dict(sources or {}) or {"the sequence itself": sequence}
    name = settings["rule"]
    if name == "given":
        return KeyFrames(_named_frames(settings["file"], sequence, sources, clip, expression, where), name)
    candidates = _Candidates(sequence, settings["skip_empty"])
    if name == "first":
        return KeyFrames((candidates.nearest(0),), name, candidates.note)
    if name == "uniform":
        frames = [candidates.nearest(t) for t in uniform(len(sequence), settings["k"], settings["at"])]
        return KeyFrames(tuple(sorted(set(frames))), name, candidates.note)
    return _best(settings, candidates, sequence, sources, where, shots)


def _best(
    settings: Mapping[str, Any],
    candidates: _Candidates,
    sequence: MaskSequence,
    sources: Mapping[str, MaskSequence],
    where: str,
    shots: Callable[[float], Sequence[range]] | None,
) -> KeyFrames:
    """The key frames by a rule that compares the quality of frames."""
    name, notes = settings["rule"], []
    if name in ONE_SCORE and len(sources) > 1:
        names = ", ".join(sources)
        raise InputError(f"{where}: {name} uses one score, found {names}; name one model, or choose `product`")
    quality, problems = frame_quality(
        name, sequence, sources, where, settings.get("over", "frame"), settings.get("by", "scores")
    )
    rule = name
    if problems and settings["without_scores"]:
        notes, rule = problems, settings["without_scores"]
        quality, problems = frame_quality(rule, sequence, sources, where)
    if problems:
        raise InputError([f"{p}: {HINT}" for p in problems])
    best, parts = candidates.best_first(quality), []
    if settings.get("min_score") is not None:
        best = _not_worse(best, quality, settings["min_score"])
    if name == "top":
        frames = spaced(best, settings["k"], settings["apart"])
    elif name in ("every", "shots"):
        parts = _parts(settings, len(sequence), shots)
        frames = first_of_each(best, parts)
    else:
        frames = list(islice(best, settings["rank"] + 1))
        if len(frames) <= settings["rank"]:
            notes.append(f"only {len(frames)} candidates: the last one is taken")
        frames = frames[-1:]
    note = "; ".join(notes + [candidates.note] * bool(candidates.note))
    key = KeyFrames(tuple(sorted(frames)), rule, note, quality=quality)
    return replace(key, cuts=tuple(part.start for part in parts[1:])) if name == "shots" else key


def _parts(
    settings: Mapping[str, Any], length: int, shots: Callable[[float], Sequence[range]] | None
) -> Sequence[range]:
    """The parts of a clip that have a key frame each."""
    if settings["rule"] == "every":
        n = settings["frames"]
        return [range(start, min(start + n, length)) for start in range(0, length, n)]
    if shots is None:
        raise ValueError("the rule `shots` reads the frames of the clip: give `choose` the argument `shots`")
    return shots(settings["distance"])


def _not_worse(frames: Iterator[int], quality: np.ndarray, least: float) -> Iterator[int]:
    """The first of the frames, which are the best first, and those that follow with a quality of at least `least`."""
    yield next(frames)
    yield from takewhile(lambda t: quality[t] >= least, frames)


def first_of_each(frames: Iterable[int], parts: Sequence[range]) -> list[int]:
    """The first of the frames in each part of a clip; parts without one are left out.

    >>> first_of_each([4, 5, 1, 0], [range(0, 3), range(3, 6), range(6, 8)])
    [4, 1]
    """
    taken: dict[range, int] = {}
    for t in frames:
        if len(taken) == len(parts):
            break
        taken.setdefault(next(part for part in parts if t in part), t)
    return list(taken.values())


def spaced(frames: Iterable[int], k: int, apart: int, taken: Sequence[int] = ()) -> list[int]:
    """Takes frames in their order, each at least `apart` from all frames taken before, until k frames are taken.

    >>> spaced([5, 6, 1, 9], k=3, apart=3), spaced([5, 6, 1, 9], k=3, apart=3, taken=[2, 3])
    ([5, 1, 9], [2, 3, 6])
    """
    taken = list(taken)
    for t in frames:
        if len(taken) >= k:
            break
        if all(abs(t - other) >= apart for other in taken):
            taken.append(t)
    return taken


class _Candidates:
    """The frames that may be chosen. Masks are read only until the choice is made."""

    def __init__(self, sequence: MaskSequence, skip_empty: bool):
        self.sequence, self.skip_empty, self.note = sequence, skip_empty, ""

    def _in_order(self, order: Iterable[int]) -> Iterator[int]:
        order, any_mask = list(order), False
        for t in order:
            if not self.skip_empty or self.sequence.mask(t).any():
                any_mask = True
                yield int(t)
        if not any_mask:
            self.note = "every mask is empty"
            yield from map(int, order)

    def best_first(self, quality: np.ndarray) -> Iterator[int]:
        """Frames by falling quality [T], the earliest of equals first."""
        return self._in_order(np.argsort(-quality, kind="stable"))

    def nearest(self, t: int) -> int:
        """The candidate nearest to frame t, the earlier of two."""
        return next(self._in_order(sorted(range(len(self.sequence)), key=lambda other: (abs(other - t), other))))


def _named_frames(
    file: str | None,
    sequence: MaskSequence,
    sources: Mapping[str, MaskSequence],
    clip: str,
    expression: str,
    where: str,
) -> tuple[int, ...]:
    """The frames that a file, the notes of the sequence or the notes of a source name."""
    if file:
        return frames_of_file(file, clip, expression, len(sequence))
    named = next((s.notes["key_frame"] for s in (sequence, *sources.values()) if "key_frame" in s.notes), None)
    if named is None:
        raise InputError(f"{where}: {NOT_NAMED}")
    return checked_frames(named, len(sequence), where)
