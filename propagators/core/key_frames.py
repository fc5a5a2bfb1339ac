"""Key frames: which frames of a mask sequence to trust, so that propagation starts from them.

A rule is its name, or its name and settings: `argmax` or `{rule: top, k: 3, apart: 5}`.

    argmax     frame of the highest score P; `rank: 1` the second best, and so on (ReferFormer; LSVOS 2022, 2023)
    product    argmax over frames of the product of the models' scores (LSVOS 2022)
    top        the `k` best by score, at least `apart` frames from each other (UNINEXT-Cutie, LSVOS 2024)
    agreement  frame on which the models' masks agree best: mean IoU of their pairs; a single model is compared with
               its own masks before and after
    temporal   frame around which each model's mask changes least in shape, and is not small
    soft       frame where each model's probabilities leave the mask's outline least in doubt; not for binary masks
    confidence frame whose pixel-wise final scores have the highest mean, `over: frame` or `over: mask`; not for binary
               masks (URVOS's anchor)
    first      the first frame: for propagation forward only
    uniform    `k` frames spread evenly: the centres of k equal parts of the clip, or `at: ends` both ends included
    given      frames named by the source (`notes["key_frame"]`) or by a `key_frame.json`

Where a source has no usable score, `without_scores: agreement` (or `temporal`, `soft`) says what decides; without it
that is an error. `temporal`, `soft` and `confidence` of several models are multiplied; what they measure is in
`proxies.py`.
Ties go to the earliest frame. Frames with an empty mask are no candidates unless `skip_empty: false`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.propagators.core.key_frame_settings import (
    BY_PROBABILITIES,
    BY_SCORES,
    ONE_SCORE,
    RULES,
    checked_frames,
    frames_of_file,
    settings_of,
)
from rvos_ensemble.propagators.core.mask_quality import agreement, confidences, soft_stability, temporal_stability

__all__ = ["RULES", "KeyFrames", "choose", "product", "settings_of", "spaced", "uniform"]

UNNAMED = 'no source names a key frame (notes["key_frame"]); give `file: key_frame.json`'
HINT = "give a file of scores, take another rule, or set `without_scores: agreement`"
CONSTANT = 1e-5  # scores that vary less are no scores: MUTR's are constant but for noise of 1.5e-7


@dataclass(frozen=True)
class KeyFrames:
    """Frames to start from.

    Attributes:
        frames: their indices, ascending.
        rule: the rule that decided in the end.
        note: what is worth knowing about the choice; "" when all went as asked.
    """

    frames: tuple[int, ...]
    rule: str
    note: str = ""


def choose(
    rule: str | Mapping[str, Any],
    sequence: MaskSequence,
    sources: Mapping[str, MaskSequence] | None = None,
    *,
    clip: str = "",
    expression: str = "",
) -> KeyFrames:
    """The key frames of a mask sequence.

    Args:
        rule: see the top of this file.
        sequence: the masks that will be propagated; they decide which frames are empty.
        sources: {name: masks} of the models whose scores or masks decide; the sequence alone when there are none.
        clip, expression: their names, for messages and to look them up in a `key_frame.json`.

    Raises:
        InputError: wrong settings, a score that is missing or constant, a given frame that is not there.
    """
    where = _where(clip, expression) if clip else "key_frame"
    settings = settings_of(rule, where)
    sources = dict(sources or {}) or {"the sequence itself": sequence}
    name, notes = settings["rule"], []
    if name == "given":
        return KeyFrames(_given(settings["file"], sequence, sources, clip, expression, where), name)
    keep = _Candidates(sequence, settings["skip_empty"])
    if name == "first":
        return KeyFrames((keep.nearest(0),), name, keep.note)
    if name == "uniform":
        frames = [keep.nearest(t) for t in uniform(len(sequence), settings["k"], settings["at"])]
        return KeyFrames(tuple(sorted(set(frames))), name, keep.note)

    if name in ONE_SCORE and len(sources) > 1:
        raise InputError(f"{where}: {name} goes by one score, found {', '.join(sources)}; name one, or take `product`")
    decided = name
    quality, problems = _quality(name, sequence, sources, where, settings.get("over", "frame"))
    if problems and settings["without_scores"]:
        notes, decided = problems, settings["without_scores"]
        quality, problems = _quality(decided, sequence, sources, where)
    if problems:
        raise InputError([f"{p}: {HINT}" for p in problems])
    best = keep.best_first(quality)
    if name == "top":
        frames = spaced(best, settings["k"], settings["apart"])
    else:
        frames = list(islice(best, settings["rank"] + 1))
        if len(frames) <= settings["rank"]:
            notes.append(f"only {len(frames)} candidates: the last of them taken")
        frames = frames[-1:]
    return KeyFrames(tuple(sorted(frames)), decided, "; ".join(notes + [keep.note] * bool(keep.note)))


def forecast(
    rule: str | Mapping[str, Any], of: str, scorers: Sequence[str], known: Mapping[str, Traits], clip: Clip
) -> list[str]:
    """What `choose` will refuse of a clip, as far as that can be said before there are masks.

    Args:
        rule: see the top of this file.
        of: name of the source or step whose masks will be propagated.
        scorers: names of those that decide.
        known: {name: what is known of its masks}.
        clip: the clip.
    """
    settings, scorers = settings_of(rule), [*dict.fromkeys(scorers)]
    if known[of].objects:  # which objects there will be nobody knows
        return []
    found: list[str] = []
    for e in clip.expressions:
        where = _where(clip.name, e.id)
        if settings["rule"] == "given":
            found += _given_forecast(settings["file"], [of, *scorers], known, clip, e.id)
            continue
        now = _quality_forecast(settings["rule"], scorers, known, clip, e.id)
        if now and settings["without_scores"]:
            now = _quality_forecast(settings["without_scores"], scorers, known, clip, e.id)
        found += [f"{where}: {problem}: {HINT}" for problem in now]
        if now and not any(known[name].sequences for name in scorers):
            break  # it is the same of all expressions
    return found


def _quality_forecast(rule: str, scorers: Sequence[str], known, clip: Clip, expression: str) -> list[str]:
    """Why there will be nothing that a rule can go by."""
    found = []
    for name in scorers:
        traits, sequence = known[name].of(expression), (known[name].sequences or {}).get(expression)
        if rule in BY_SCORES and sequence is not None:
            found += _score_problems(name, sequence, len(clip))
        elif rule in BY_SCORES and traits.scores is False:
            found.append(f"{name} has no scores")
        elif rule in BY_PROBABILITIES and traits.kind not in (None, "prob"):
            found.append(f"{name} has no probabilities to go by")
    return found


def _given_forecast(file: str, names: Sequence[str], known, clip: Clip, expression: str) -> list[str]:
    if not file:
        some = any(known[name].of(expression).key_frame is not False for name in names)
        return [] if some else [f"{_where(clip.name, expression)}: {UNNAMED}"]
    try:
        frames_of_file(file, clip.name, expression, len(clip))
    except InputError as error:
        return error.problems
    return []


def product(scores: Sequence[np.ndarray]) -> np.ndarray:
    """prod_m P_m[t], float64 [T].

    >>> product([np.array([0.5, 1.0]), np.array([0.5, 0.5])]).tolist()
    [0.25, 0.5]
    """
    return np.prod([np.asarray(s, np.float64) for s in scores], axis=0)


def uniform(length: int, k: int, at: str = "centres") -> list[int]:
    """k frames (all when there are fewer) spread over a clip.

    >>> uniform(10, 2), uniform(10, 3, "ends"), uniform(3, 5)
    ([2, 7], [0, 4, 9], [0, 1, 2])
    """
    k = min(k, length)
    if at == "centres" or k == 1:
        return [(2 * i + 1) * length // (2 * k) for i in range(k)]
    return [i * (length - 1) // (k - 1) for i in range(k)]


def spaced(frames, k: int, apart: int, taken: Sequence[int] = ()) -> list[int]:
    """The first of the frames that are at least `apart` from every one taken before, until k are taken.

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
        self.sequence, self.skip, self.note = sequence, skip_empty, ""

    def _in_order(self, order: Sequence[int]) -> Iterator[int]:
        some = False
        for t in order:
            if not self.skip or self.sequence.mask(t).any():
                some = True
                yield int(t)
        if not some:
            self.note = "every mask is empty"
            yield from map(int, order)

    def best_first(self, quality: np.ndarray) -> Iterator[int]:
        return self._in_order(np.argsort(-quality, kind="stable"))

    def nearest(self, t: int) -> int:
        return next(self._in_order(sorted(range(len(self.sequence)), key=lambda other: (abs(other - t), other))))


def _quality(
    rule: str, sequence: MaskSequence, sources: Mapping[str, MaskSequence], where: str, over: str = "frame"
) -> tuple[np.ndarray, list[str]]:
    """What the rule goes by, float64 [T], the more the better; or why there is none."""
    models = list(sources.values())
    if rule == "agreement":
        return agreement(models) * [bool(sequence.mask(t).any()) for t in range(len(sequence))], []
    if rule == "temporal":
        return product([temporal_stability(s) for s in models]), []
    if rule in BY_PROBABILITIES:
        of = soft_stability if rule == "soft" else partial(confidences, over=over)
        binary = [n for n, s in sources.items() if s.kind != "prob"]
        return product([of(s) for s in models if s.kind == "prob"]), [
            f"{where}: {n} has no probabilities to go by" for n in binary
        ]
    problems = [f"{where}: {p}" for n, s in sources.items() for p in _score_problems(n, s, len(sequence))]
    return np.ones(0) if problems else product([s.scores for s in models]), problems


def _score_problems(name: str, source: MaskSequence, length: int) -> list[str]:
    if source.scores is None:
        return [f"{name} has no scores"]
    if len(source.scores) != length:
        return [f"{name} has {len(source.scores)} scores, expected {length}, one a frame"]
    if length > 1 and np.ptp(source.scores) < CONSTANT:
        return [f"{name} has the same score {source.scores[0]:.4g} on all frames, which says nothing"]
    return []


def _where(clip: str, expression: str) -> str:
    return f"key_frame of clip {clip!r}, expression {expression!r}"


def _given(file: str, sequence, sources, clip, expression, where) -> tuple[int, ...]:
    """The frames that a file, the sequence's notes or a source's notes name."""
    if file:
        return frames_of_file(file, clip, expression, len(sequence))
    found = next((s.notes["key_frame"] for s in (sequence, *sources.values()) if "key_frame" in s.notes), None)
    if found is None:
        raise InputError(f"{where}: {UNNAMED}")
    return checked_frames(found, len(sequence), where)
