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

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from adapters.component import merge_settings
from adapters.sequence import InputError, MaskSequence
from propagators.proxies import agreement, confidences, soft_stability, temporal_stability

RULES: dict[str, dict[str, Any]] = {
    "argmax": {"rank": 0, "skip_empty": True, "without_scores": ""},
    "product": {"rank": 0, "skip_empty": True, "without_scores": ""},
    "top": {"k": 3, "apart": 1, "skip_empty": True, "without_scores": ""},
    "agreement": {"rank": 0, "skip_empty": True},
    "temporal": {"rank": 0, "skip_empty": True},
    "soft": {"rank": 0, "skip_empty": True, "without_scores": ""},
    "confidence": {"over": "frame", "rank": 0, "skip_empty": True, "without_scores": ""},
    "first": {"skip_empty": True},
    "uniform": {"k": 1, "at": "centres", "skip_empty": True},
    "given": {"file": ""},
}
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


def settings_of(rule: str | Mapping[str, Any], where: str = "key_frame") -> dict[str, Any]:
    """The rule with all its settings, `rule` among them.

    >>> settings_of({"rule": "uniform", "k": 2})
    {'rule': 'uniform', 'k': 2, 'at': 'centres', 'skip_empty': True}

    Raises:
        InputError: no such rule, unknown settings, values out of range.
    """
    given = dict(rule) if isinstance(rule, Mapping) else {"rule": rule}
    name = given.pop("rule", None)
    if not isinstance(name, str) or name not in RULES:
        raise InputError(f"{where}: there is no rule {name!r}. Valid: {', '.join(RULES)}")
    settings = merge_settings(RULES[name], given, f"{where} {name}")
    valid = {
        "at": ("centres", "ends"),
        "over": ("frame", "mask"),
        "without_scores": ("", "agreement", "temporal", "soft"),
    }
    problems = [
        f"{where} {name}: setting `{key}` is {settings[key]!r}, expected one of {', '.join(map(repr, choices))}"
        for key, choices in valid.items()
        if key in settings and settings[key] not in choices
    ]
    problems += [
        f"{where} {name}: setting `{key}` is {settings[key]!r}, expected at least {least}"
        for key, least in {"k": 1, "apart": 1, "rank": 0}.items()
        if key in settings and (settings[key] is None or settings[key] < least)
    ]
    if settings.get("file") and not Path(settings["file"]).expanduser().is_file():
        problems.append(f"{where} {name}: {settings['file']}: no such file, named as key frames in the recipe")
    if problems:
        raise InputError(problems)
    return {"rule": name, **settings}


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
    where = f"key_frame of clip {clip!r}, expression {expression!r}" if clip else "key_frame"
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

    if name in ("argmax", "top") and len(sources) > 1:
        raise InputError(f"{where}: {name} goes by one score, found {', '.join(sources)}; name one, or take `product`")
    decided = name
    quality, problems = _quality(name, sequence, sources, where, settings.get("over", "frame"))
    if problems and settings["without_scores"]:
        notes, decided = problems, settings["without_scores"]
        quality, problems = _quality(decided, sequence, sources, where)
    if problems:
        hint = "give a file of scores, take another rule, or set `without_scores: agreement`"
        raise InputError([f"{p}: {hint}" for p in problems])
    best = keep.best_first(quality)
    if name == "top":
        frames = spaced(best, settings["k"], settings["apart"])
    else:
        frames = list(islice(best, settings["rank"] + 1))
        if len(frames) <= settings["rank"]:
            notes.append(f"only {len(frames)} candidates: the last of them taken")
        frames = frames[-1:]
    return KeyFrames(tuple(sorted(frames)), decided, "; ".join(notes + [keep.note] * bool(keep.note)))


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
    if rule in ("soft", "confidence"):
        of = soft_stability if rule == "soft" else partial(confidences, over=over)
        binary = [n for n, s in sources.items() if s.kind != "prob"]
        return product([of(s) for s in models if s.kind == "prob"]), [
            f"{where}: {n} has no probabilities to go by" for n in binary
        ]
    problems = [p for n, s in sources.items() for p in _score_problems(n, s, len(sequence), where)]
    return np.ones(0) if problems else product([s.scores for s in models]), problems


def _score_problems(name: str, source: MaskSequence, length: int, where: str) -> list[str]:
    if source.scores is None:
        return [f"{where}: {name} has no scores"]
    if len(source.scores) != length:
        return [f"{where}: {name} has {len(source.scores)} scores, expected {length}, one a frame"]
    if length > 1 and np.ptp(source.scores) < CONSTANT:
        return [f"{where}: {name} has the same score {source.scores[0]:.4g} on all frames, which says nothing"]
    return []


def _given(file: str, sequence, sources, clip, expression, where) -> tuple[int, ...]:
    """The frames that a file, the sequence's notes or a source's notes name."""
    if file:
        at, found = f"{file}: video {clip!r}, expression {expression!r}", _look_up(file, clip, expression)
    else:
        at = where
        found = next((s.notes["key_frame"] for s in (sequence, *sources.values()) if "key_frame" in s.notes), None)
        if found is None:
            raise InputError(f'{where}: no source names a key frame (notes["key_frame"]); give `file: key_frame.json`')
    frames = found if isinstance(found, (list, tuple)) else [found]
    bad = [
        t for t in frames if not isinstance(t, (int, np.integer)) or isinstance(t, bool) or not 0 <= t < len(sequence)
    ]
    if bad or not frames:
        raise InputError(f"{at}: key frame {found!r}, expected frame indices from 0 to {len(sequence) - 1}")
    return tuple(sorted({int(t) for t in frames}))


def _look_up(file: str, clip: str, expression: str):
    """{video: {exp: k | [k, ...] | {"index_info": {"class_index": k}}}}; the last is the 2023 winner's."""
    path = Path(file).expanduser()
    table = _read_json(str(path), path.stat().st_mtime_ns)
    of_clip = table.get(clip) if isinstance(table, dict) else None
    entry = of_clip.get(expression) if isinstance(of_clip, dict) else None
    if entry is None:
        raise InputError(f"{path}: no key frame for video {clip!r}, expression {expression!r}")
    if isinstance(entry, dict):
        entry = entry.get("index_info", {}).get("class_index", f"nothing at index_info.class_index in {entry}")
    return entry


@lru_cache(maxsize=8)
def _read_json(path: str, mtime: int) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
