"""The embedded default: a small benchmark that renders itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from adapters.component import REQUIRED
from adapters.datasets import Dataset
from adapters.datasets.meta import subset
from adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from adapters.sequence import Clip, InputError

STAMP = "rendered.json"  # written last: a folder with it is complete
SPLITS, LEVELS = ("train", "val", "test"), ("easy", "medium", "hard")
SMALLEST, FEWEST = 48, 4  # pixels a side, frames a clip


class Shapes(Dataset):
    """The embedded default: renders a small benchmark in the layout of Ref-YouTube-VOS.

    Textured things move, turn, bend and change size over textured ground under a shaking camera, in changing light.
    There are twins (same look, other motion), occlusions, things that leave and return, sentences about looks and about
    motion, in pairs, and a clip with an odd count of them; see docs/shapes.md.

    The files are rendered once. They are the same wherever NumPy, OpenCV and zlib-ng are of the same version.

    Settings:
        root: folder to render into; rendered again when the settings differ from those it was rendered with.
        split: "train", "val" or "test": no clip of one is in another, whatever the seeds.
        level: "easy", "medium" or "hard"; null takes them in turn.
        seed: another seed, another benchmark; several, as in [0, 1, 2], are one of all their clips.
        clips: how many, of each seed.
        frames: of each clip.
        size: (H, W) in pixels.
        videos: only these.
    """

    version = 4  # raise it when anything that is rendered changes
    defaults = {
        "root": REQUIRED,
        "split": "test",
        "level": None,
        "seed": None,  # one number or several; None is 0
        "clips": 8,
        "frames": 24,
        "size": [180, 320],
        "videos": None,
    }

    def clips(self) -> list[Clip]:
        """Every clip, sorted by name, read from the rendered files.

        Raises:
            InputError: see `prepare`.
        """
        if parts := self._of_seeds():
            every = {f"seed{seed}_{clip.name}": clip for seed, part in parts.items() for clip in part.clips()}
            wanted = subset(every, self.settings.videos, self._root())
            return [replace(clip, name=name) for name, clip in wanted.items()]
        self.prepare()
        return RefYoutubeVOS(root=str(self._root()), split="valid", videos=self.settings.videos).clips()

    def prepare(self) -> None:
        """Renders the files, unless they are there already.

        A run that is killed leaves the folder as it was; of two that start at once, one waits for the other.

        Raises:
            InputError: a setting that cannot be rendered, or a folder that holds files of another origin.
        """
        if parts := self._of_seeds():
            for part in parts.values():
                part.prepare()
            return
        wanted = self._wanted()
        root = self._root()
        if _is_complete(root, wanted):
            return
        root.parent.mkdir(parents=True, exist_ok=True)
        with _locked(root.with_name(f".{root.name}.lock")):
            if not _is_complete(root, wanted):
                _refuse_foreign(root)
                _render(root, wanted)

    def _of_seeds(self) -> dict[int, Shapes]:
        """{seed: its benchmark, in a folder within this one's}; empty where there is one seed, and no folder within."""
        s = {**vars(self.settings), "videos": None}
        if not isinstance(s["seed"], (list, tuple)):
            return {}
        return {n: Shapes(**{**s, "seed": n, "root": str(self._root() / f"seed{n}")}) for n in s["seed"]}

    def _root(self) -> Path:
        return Path(self.settings.root).expanduser().absolute()

    def _wanted(self) -> dict:
        """What is to be rendered, as it stands in the stamp."""
        s = self.settings
        size = list(s.size) if isinstance(s.size, (list, tuple)) else []
        problems = []
        if len(size) != 2 or not all(isinstance(n, int) and n >= SMALLEST for n in size):
            problems.append(
                f"shapes: `size` is {s.size!r}, expected [height, width] of at least {SMALLEST} pixels each"
            )
        if s.split not in SPLITS:
            problems.append(f"shapes: `split` is {s.split!r}, expected one of {', '.join(SPLITS)}")
        if s.level not in (None, *LEVELS):
            problems.append(f"shapes: `level` is {s.level!r}, expected one of {', '.join(LEVELS)}, or null for all")
        seed = 0 if s.seed is None else s.seed
        if not isinstance(seed, int) or seed < 0:
            problems.append(f"shapes: `seed` is {seed!r}, expected 0 or more, or several such numbers")
        if s.clips < 1:
            problems.append(f"shapes: `clips` is {s.clips}, expected 1 or more")
        if s.frames < FEWEST:
            problems.append(f"shapes: `frames` is {s.frames}, expected {FEWEST} or more")
        if problems:
            raise InputError(problems)
        wanted = {
            "split": s.split,
            "level": s.level,
            "seed": seed,
            "clips": s.clips,
            "frames": s.frames,
            "size": size,
        }
        return {"version": self.version, **wanted}


def _is_complete(root: Path, wanted: dict) -> bool:
    """Whether the folder holds what is wanted, every file at its full length."""
    stamp = _stamp(root)
    return stamp.get("rendered") == wanted and all(_length(root / name) == n for name, n in stamp["files"].items())


def _stamp(root: Path) -> dict:
    try:
        return json.loads((root / STAMP).read_bytes())
    except (OSError, ValueError):
        return {}


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _refuse_foreign(root: Path) -> None:
    """Never deletes what it has not written."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: a file, expected a folder to render shapes into; give another `root`")
    own = _stamp(root).get("files", {})
    foreign = sorted(name for name in _files(root) if name not in own and name != STAMP)
    if foreign:
        raise InputError(
            f"{root}: has to be rendered anew, but holds {len(foreign)} files that shapes did not write, such as "
            f"{foreign[0]}; delete or move them, or give another `root`"
        )


def _files(root: Path) -> list[str]:
    return [p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()]


def _render(root: Path, wanted: dict) -> None:
    """Renders beside the folder, then puts it in place in one step. Needs the lock."""
    from adapters.datasets.shapes.layout import render  # here, because few who read the data set have to draw it

    fresh, old = root.with_name(f".{root.name}.rendering"), root.with_name(f".{root.name}.old")
    for left in (fresh, old):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    print(f"shapes: rendering {wanted['clips']} clips into {root} (once)", file=sys.stderr, flush=True)
    try:
        render(fresh, **{key: value for key, value in wanted.items() if key != "version"})
        files = {name: _length(fresh / name) for name in sorted(_files(fresh))}
        (fresh / STAMP).write_text(json.dumps({"rendered": wanted, "files": files}, indent=0), encoding="utf-8")
        if root.exists():
            os.rename(root, old)
        os.rename(fresh, root)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock; the system lets go of it when the process ends, however it ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
