"""The results of a run: pending ones in a folder of their own, and published ones.

    OUT/Annotations/CLIP/...  OUT/clips/CLIP.json ...  OUT/submission.zip ...      published
    OUT/.pending-XXXXXXXX/clips/CLIP/...   OUT/.pending-XXXXXXXX/top/...           pending

Published results stay until everything that replaces them has been written. Then a plan is written, from which moment
on the new results count, and files are renamed. If the process is killed in between, the next run finds the plan and
carries it out. While pictures are being replaced there is no submission.zip, so that the two never disagree.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rvos_ensemble.adapters.core.io.disk import atomic_write, write_file
from rvos_ensemble.ensemble.engine.storage.folders import remove
from rvos_ensemble.ensemble.engine.storage.store import key_of

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
# Files of the run as a whole, in the order of publication.
TOP = ("metrics.csv", "metrics.json", "metrics.tex", "report.html", "manifest.json", "config.yaml", ZIP)


@dataclass(frozen=True)
class Place:
    """A folder with results of clips.

    Attributes:
        root: folder of the run, or the pending folder in it.
        pending: True for the pending folder.
    """

    root: Path
    pending: bool = False

    def path(self, clip: str, part: str) -> Path:
        """The path of one of `PARTS`, or of a file below it."""
        if self.pending:
            return self.root / "clips" / clip / part
        first, *below = part.split("/")
        return self.root.joinpath(PARTS[first].format(clip), *below)


@dataclass(frozen=True)
class Draft:
    """Results of a clip while they are written; they become pending results in one step, when all are complete.

    Every draft has a folder of its own: the scheduler of a cluster that has lost sight of a worker gives its clip to
    another one, and both may finish.
    """

    pending: Path
    clip: str
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def folder(self) -> Path:
        """The folder of the draft."""
        return self.pending / "new" / f"{self.clip}.{self.token}"

    def __enter__(self) -> Draft:
        self.folder.mkdir()  # not its parents: they no longer exist once the run that this worker belongs to has ended
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
    """Creates the folders within the pending one; removes what a killed run left incomplete."""
    for name in ("new", "top"):
        remove(pending / name)
    for name in ("new", "top", "clips"):
        (pending / name).mkdir(exist_ok=True)


def discard(pending: Path) -> None:
    """Removes everything that is pending."""
    for path in pending.iterdir():
        remove(path)


def tidy(pending: Path) -> None:
    """Keeps only what a rerun can use; everything, where the run ended while it published."""
    if (pending / PLAN).exists():
        return
    for name in ("new", "top"):
        remove(pending / name)
    clips = pending / "clips"
    if clips.is_dir() and not any(clips.iterdir()):
        remove(clips)


def are_complete(out: Path) -> bool:
    """Whether the published results are those of a run in which no clip failed."""
    try:
        clips = json.loads((out / "manifest.json").read_bytes())["clips"]
        return bool(clips) and all(clip["status"] != "failed" for clip in clips.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def publish(out: Path, pending: Path, fresh: Iterable[str], clips: Iterable[str], keep: Sequence[str]) -> None:
    """Replaces the published results by the pending ones.

    Args:
        out: folder of the run.
        pending: the pending folder; `top` in it holds those files of `TOP` that the new results have.
        fresh: clips whose results are pending; those of other clips stay unchanged.
        clips: all clips of the results; results of any other clip are removed.
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
    """Completes the publication that a killed process began."""
    try:
        plan = json.loads((pending / PLAN).read_bytes())
        if plan.pop("digest") != key_of(plan):
            return
    except (OSError, ValueError, KeyError, AttributeError):
        return
    _carry_out(out, pending, plan)


def _carry_out(out: Path, pending: Path, plan: dict) -> None:
    """Carries out a plan; every step may have been done before by a process that was killed."""
    left = {clip: parts for clip, parts in plan["fresh"].items() if Place(pending, True).path(clip, "").is_dir()}
    stale = list(_stale(out, plan))
    if left or stale:  # from here to the end the pictures and the zip would disagree
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
    """What the new results do not include: folders that are no longer wanted, clips of other data."""
    names = set(plan["clips"])
    for folder in FOLDERS:
        if folder not in plan["keep"]:
            yield from [out / folder] if (out / folder).exists() else []
        elif (out / folder).is_dir():
            plain = folder in ("Annotations", "overlays")
            yield from (p for p in (out / folder).iterdir() if (p.name if plain else p.stem) not in names)


def _take_over(out: Path, pending: Path, clip: str, parts: Sequence[str]) -> None:
    """Publishes the pending results of a clip; parts that they lack are removed."""
    for part in PARTS:
        new, target = Place(pending, True).path(clip, part), Place(out).path(clip, part)
        if part not in parts:
            remove(target)
        elif new.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():  # a folder cannot be replaced in one step: the old one is moved away first
                remove(pending / OLD)
                target.rename(pending / OLD)
            os.replace(new, target)
    remove(Place(pending, True).path(clip, ""))
