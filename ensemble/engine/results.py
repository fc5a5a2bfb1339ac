"""The results of a run: those in the making, in a folder of their own, and those that are published.

    OUT/Annotations/CLIP/...  OUT/clips/CLIP.json ...  OUT/submission.zip ...      published
    OUT/.pending-XXXXXXXX/clips/CLIP/...   OUT/.pending-XXXXXXXX/top/...           in the making

Whatever becomes of a run, what is published stays until all that takes its place is there. Then a plan is written,
which is the moment from which on the new results count, and files are renamed. A process that is killed in between
leaves the plan, and the next one carries it out. While the pictures change there is no submission.zip: the two never
disagree.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rvos_ensemble.adapters.core.disk import atomic_write, write_file
from rvos_ensemble.ensemble.engine.folders import remove
from rvos_ensemble.ensemble.engine.store import key_of

PENDING = "pending"
PLAN, OLD = "plan.json", "old"
PARTS = {  # of a clip's results: where they are published
    "Annotations": "Annotations/{}",
    "overlays": "overlays/{}",
    "scores.npz": "clips/{}.npz",
    "report.js": "report/{}.js",
    "record.json": "clips/{}.json",
}
FOLDERS = ("Annotations", "overlays", "clips", "report")
ZIP = "submission.zip"
TOP = ("metrics.csv", "metrics.json", "report.html", "manifest.json", "config.yaml", ZIP)  # in order of publication


@dataclass(frozen=True)
class Place:
    """Where the results of clips lie.

    Attributes:
        root: folder of the run, or the pending one in it.
        pending: whether it is the latter.
    """

    root: Path
    pending: bool = False

    def path(self, clip: str, part: str) -> Path:
        """Of one of `PARTS`, or of a file below it."""
        if self.pending:
            return self.root / "clips" / clip / part
        first, *below = part.split("/")
        return self.root.joinpath(PARTS[first].format(clip), *below)


@dataclass(frozen=True)
class Draft:
    """Results of a clip while they are written: they take their place in one step, when all of them are there."""

    pending: Path
    clip: str

    @property
    def folder(self) -> Path:
        return self.pending / "new" / self.clip

    def __enter__(self) -> Draft:
        remove(self.folder)
        self.folder.mkdir()  # not its parents: they are gone when the run is no longer this worker's
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            remove(self.folder)
            return
        final = Place(self.pending, True).path(self.clip, "")
        remove(final)
        self.folder.rename(final)

    def write(self, part: str, data: bytes) -> None:
        """Writes a file, `part` or below it."""
        path = self.folder / part
        if not path.parent.is_dir():
            for above in reversed(Path(part).parents[:-1]):  # not those of the draft, see `__enter__`
                (self.folder / above).mkdir(exist_ok=True)
        write_file(path, data)


def prepare(pending: Path) -> None:
    """Makes the folders within the pending one; what a killed run left half is removed."""
    for name in ("new", "top"):
        remove(pending / name)
    for name in ("new", "top", "clips"):
        (pending / name).mkdir(exist_ok=True)


def discard(pending: Path) -> None:
    """Forgets all that is pending."""
    for path in pending.iterdir():
        remove(path)


def tidy(pending: Path) -> None:
    """Leaves of a run that ended only what a rerun can use; of one that ended while it published, all."""
    if (pending / PLAN).exists():
        return
    for name in ("new", "top"):
        remove(pending / name)
    clips = pending / "clips"
    if clips.is_dir() and not any(clips.iterdir()):
        remove(clips)


def are_complete(out: Path) -> bool:
    """Whether what is published is all of a run in which no clip failed."""
    try:
        clips = json.loads((out / "manifest.json").read_bytes())["clips"]
        return bool(clips) and all(clip["status"] != "failed" for clip in clips.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def publish(out: Path, pending: Path, fresh: Iterable[str], clips: Iterable[str], keep: Sequence[str]) -> None:
    """Puts new results in the place of those that were there.

    Args:
        out: folder of the run.
        pending: folder with the new ones; `top` in it holds those of `TOP` that the results have.
        fresh: clips whose results are pending; those of all others stay as they are.
        clips: all that the results are of; what there is of others is removed.
        keep: those of `FOLDERS` that the results have.
    """
    place = Place(pending, True)
    plan = {
        "fresh": {c: [p for p in PARTS if place.path(c, p).exists()] for c in sorted(fresh)},
        "clips": sorted(clips),
        "keep": list(keep),
        "top": [name for name in TOP if (pending / "top" / name).exists()],
    }
    atomic_write(pending / PLAN, json.dumps({"digest": key_of(plan), **plan}))
    _carry_out(out, pending, plan)


def recover(out: Path, pending: Path) -> None:
    """Ends the publication that a killed process began."""
    try:
        plan = json.loads((pending / PLAN).read_bytes())
        if plan.pop("digest") != key_of(plan):
            return
    except (OSError, ValueError, KeyError, AttributeError):
        return
    _carry_out(out, pending, plan)


def _carry_out(out: Path, pending: Path, plan: dict) -> None:
    """Of every step it does not matter whether a process that was killed has done it before."""
    left = {clip: parts for clip, parts in plan["fresh"].items() if Place(pending, True).path(clip, "").is_dir()}
    stale = list(_stale(out, plan))
    if left or stale:  # between here and the end the pictures and the zip would not be of the same results
        remove(out / ZIP)
    for path in stale:
        remove(path)
    for clip, parts in left.items():
        _take_over(out, pending, clip, parts)
    for name in TOP:
        if name not in plan["top"]:
            remove(out / name)
        elif (pending / "top" / name).exists():
            os.replace(pending / "top" / name, out / name)
    discard(pending)


def _stale(out: Path, plan: dict) -> Iterator[Path]:
    """What the new results do not have: folders that are no longer wanted, clips of other data."""
    names = set(plan["clips"])
    for folder in FOLDERS:
        if folder not in plan["keep"]:
            yield from [out / folder] if (out / folder).exists() else []
        elif (out / folder).is_dir():
            plain = folder in ("Annotations", "overlays")
            yield from (p for p in (out / folder).iterdir() if (p.name if plain else p.stem) not in names)


def _take_over(out: Path, pending: Path, clip: str, parts: Sequence[str]) -> None:
    """The pending results of a clip become the published ones; what these have more is removed."""
    for part in PARTS:
        new, target = Place(pending, True).path(clip, part), Place(out).path(clip, part)
        if part not in parts:
            remove(target)
        elif new.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():  # folders are not replaced in one step: the old one steps aside
                remove(pending / OLD)
                target.rename(pending / OLD)
            os.replace(new, target)
    remove(Place(pending, True).path(clip, ""))
