"""Seeds in one json file of this package's own format.

    {video: {expression: [{"frame": name or index, "mask": RLE, "instance": name, "score": number}]}}

- `frame` is the name of a frame, with or without the suffix of its picture ("00005", "00005.jpg"), or its index (5);
- `mask` is {"size": [H, W], "counts": string}, or null for an empty mask;
- `instance` is any text that is unique within the expression; without it, instances are called "1", "2", ...;
- `score` is a number in 0..1; without it, the score is 1.

An empty list means that the expression refers to nothing. Every expression of a clip must be listed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_hash
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.coco_rle import decode
from rvos_ensemble.adapters.files.scores import load_json
from rvos_ensemble.adapters.files.seeds.seed import NOTHING, Listing, Seed

OTHERS = {  # {key by which another format is recognised: what it is}
    "counts": "a mask without a frame, which the adapters `files` and `proposals` read",
    "pred_masks": "a pred.json of SAM3-agent: give the folder with the folders of the videos",
    "best_frame": "an answer of a language model: give the folder of the answers as `answers`",
    "results": "an answer of a language model: give the folder of the answers as `answers`",
    "is_match": "a verdict of a language model, which has no masks",
    "prediction_masks": "a results.json of Sa2VA, which has masks of all frames",
    "expressions": "a list of the expressions of a data set, which has no masks",
}
KEYS = ("frame", "mask", "instance", "score")
EXPECTED = '{video: {expression: [{"frame": name or index, "mask": RLE, "instance": name, "score": number}]}}'


@dataclass(frozen=True)
class PlainSeeds:
    """Reads seeds from a json file of the format above."""

    file: Stamp

    def listed(self, clip: Clip) -> dict[str, Listing]:
        """{expression id: its seeds} of the expressions of the clip.

        Raises:
            InputError: another format, an expression that is not listed, or entries that are no seeds.
        """
        path, videos = self.file[0], load_json(self.file)
        if clip.name not in videos:
            what = _what_it_is(videos) or f"; it has {first_few(videos)}"
            raise InputError(f"{path}: no seeds of video {clip.name!r}{what}")
        expressions = videos[clip.name]
        if not isinstance(expressions, dict):
            raise InputError(f"{path}: video {clip.name!r} has {shown(expressions)}, expected {EXPECTED}")
        if what := "" if expressions.keys() & {e.id for e in clip.expressions} else _what_it_is(expressions):
            raise InputError(f"{path}: video {clip.name!r} has no seeds{what}")
        listed, problems = {}, []
        for e in clip.expressions:
            where = f"{path}: video {clip.name!r}, expression {e.id!r}"
            if e.id not in expressions:
                problems.append(f"{where}: not listed; if it refers to nothing, list it with []")
                continue
            try:
                listed[e.id] = _listing(expressions[e.id], clip, where)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return listed

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the file."""
        return file_hash(self.file)


def frame_index(frame: Any, clip: Clip) -> int | None:
    """The index of a frame from its name or index, None if the clip does not have it.

    A name may end with the suffix of a picture.
    """
    if type(frame) is int:
        return frame if 0 <= frame < len(clip) else None
    names = (frame, PurePath(frame).stem) if isinstance(frame, str) and frame else ()
    return next((clip.frames.index(name) for name in names if name in clip.frames), None)


def outside(instance: str, frame: Any, clip: Clip) -> str:
    """The sentence for a seed in a frame that the clip does not have."""
    names = f"0..{len(clip) - 1}, called {clip.frames[0]!r} to {clip.frames[-1]!r}"
    return f"instance {instance!r} is in frame {shown(frame)}, which the clip does not have; it has the frames {names}"


def _listing(entries: Any, clip: Clip, where: str) -> Listing:
    """The seeds of one expression."""
    if not isinstance(entries, list):
        raise InputError(f"{where}: {shown(entries)}, expected a list of seeds: {EXPECTED}{_what_it_is(entries)}")
    if not entries:
        return NOTHING
    seeds: list[Seed] = []
    bad, names, problems = [], [], []
    for number, entry in enumerate(entries):
        at = f"{where}, seed {number}"
        if problem := _problems(entry, at):
            problems += problem
            continue
        t, name = frame_index(entry["frame"], clip), entry.get("instance", str(number + 1))
        names.append(name)
        try:
            mask = decode(entry["mask"], tuple(clip.size), at)
        except InputError as error:
            problems += error.problems
            continue
        if t is None:
            bad.append(outside(name, entry["frame"], clip))
        else:
            seeds.append(Seed(name, t, mask, float(entry.get("score", 1.0))))
    problems += [
        f"{where}: {count} seeds of instance {name!r}; give every seed an instance of its own"
        for name, count in Counter(names).items()
        if count > 1
    ]
    if problems:
        raise InputError(problems)
    return Listing(seeds, bad, presence=1.0)


def _problems(entry: Any, where: str) -> list[str]:
    """What is wrong with the keys and values of a seed, except its mask."""
    if not isinstance(entry, dict) or not {"frame", "mask"} <= entry.keys():
        return [f"{where}: {shown(entry)}, expected a seed: {EXPECTED}{_what_it_is(entry)}"]
    problems = [f"{where}: unknown key {shown(key)}, expected {', '.join(KEYS)}" for key in entry if key not in KEYS]
    name, score, frame = entry.get("instance", "1"), entry.get("score", 1.0), entry["frame"]
    if not isinstance(name, str) or not name.strip():
        problems.append(f"{where}: `instance` is {shown(name)}, expected a text that is not empty")
    if type(score) not in (int, float) or not 0 <= score <= 1:
        problems.append(f"{where}: `score` is {shown(score)}, expected a number in 0..1")
    if type(frame) not in (int, str):
        problems.append(f"{where}: `frame` is {shown(frame)}, expected the name of a frame, or its index")
    return problems


def _what_it_is(content: Any) -> str:
    """What a json of another format is, by its keys, as the end of a sentence; "" if it is none of `OTHERS`."""
    keys = content.keys() if isinstance(content, dict) else ()
    return next((f"; this is {what}" for key, what in OTHERS.items() if key in keys), "")
