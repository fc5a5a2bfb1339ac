"""`stage2`'s votes from masks on disk, against the PNG codec alone on the very same files, on one core.

    python -m benchmarks.pipeline FOLDER [--clips 202 --expressions 834 --frames 27 --size 720 1280]

FOLDER receives a data set in the layout of Ref-YouTube-VOS without pictures, and the masks of four models, as models
write them (0/255 by Pillow, 0.7 GB at full size); data that is there already is used again. The recipe has the two
votes of `stage2`, without propagation: `smr` over three models and `final` over the vote and three models, both summed
over expressions. It runs with all defaults except `engine.workers=1`: masks are checked, voted, stored, written,
reported and zipped.

"codec" decodes every file of the four models once and encodes every distinct mask of the result once, in this process,
before and after the run; its time is the mean. Times are CPU seconds of this process; for whole commands, of theirs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pkgutil
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from PIL import Image

import run_ensemble
from benchmarks.png import by_pillow
from rvos_ensemble.adapters.core.io import png

SOURCES = ("soc", "mutr", "referformer", "uninext")
OBJECTS, VARIANTS = 12, 8  # distinct masks: places and sizes, and outlines of each
RECIPE = """# The votes of stage2, on masks that are on disk.
data: {{dataset: ref_youtube_vos, root: {root}/data}}
sources: {{{sources}}}
steps:
  smr:   {{op: vote, inputs: [soc, mutr, referformer], across: expressions, threshold: 0.5}}
  final: {{op: vote, inputs: [smr, soc, uninext, referformer], across: expressions, threshold: 0.5}}
output: final
engine: {{workers: 1}}
"""
PARTS = {  # of a run: the functions whose time is measured
    "look for earlier results": "ensemble.commands.run._reusable",
    "check every file": "ensemble.commands.run.check",
    "keys (hashes of the files)": "ensemble.report.clip_results.keys_of",
    "votes, stored": "ensemble.engine.graph.Graph.predictions",
    "Annotations": "ensemble.report.clip_results.write_tree",
    "masks for the report": "ensemble.report.page.clip_data.pack",
    "metrics": "ensemble.report.write_metrics",
    "zip, checked": "ensemble.report.submission.write",
    "report.html": "ensemble.report.write_page",
    "publish": "ensemble.engine.storage.results.publish",
}


@dataclass
class Size:
    """The size of the synthetic data set."""

    clips: int
    expressions: int
    frames: int
    size: tuple[int, int]

    def of_clips(self) -> dict[str, list[str]]:
        """{clip: ids of its expressions}; the expressions are spread evenly, the first clips have one more."""
        each, more = divmod(self.expressions, self.clips)
        return {f"clip{c:03d}": [str(e) for e in range(each + (c < more))] for c in range(self.clips)}

    def frame_names(self) -> list[str]:
        """Names of the frames, every fifth as in Ref-YouTube-VOS."""
        return [f"{5 * t:05d}" for t in range(self.frames)]


@dataclass
class Parts:
    """CPU seconds of named parts, without the parts called within them."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    since: float = 0.0

    def timed(self, name: str, work: Callable) -> Callable:
        """A function that does the same and adds its time."""

        def wrapper(*args, **kwargs):
            self._switch()
            self.running.append(name)
            try:
                return work(*args, **kwargs)
            finally:
                self._switch()
                self.running.pop()

        return wrapper

    def _switch(self) -> None:
        """Adds the time since the last switch to the part in progress."""
        now = time.process_time()
        if self.running:
            self.seconds[self.running[-1]] = self.seconds.get(self.running[-1], 0.0) + now - self.since
        self.since = now

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Times the functions of `PARTS` while it is entered."""
        with contextlib.ExitStack() as stack:
            for name, path in PARTS.items():
                target = f"rvos_ensemble.{path}"
                stack.enter_context(mock.patch(target, self.timed(name, pkgutil.resolve_name(target))))
            yield


def blob(random: np.random.Generator, size: tuple[int, int], of: int, variant: int) -> np.ndarray:
    """A mask that resembles a model's output: one large object with a random outline, bool [H, W]."""
    height, width = size
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 1 + 0.08 * np.convolve(random.normal(size=90), np.ones(5) / 2, "same")
    x = width * (0.25 + 0.5 * (of % 4) / 3 + 0.01 * variant) + width * (0.08 + 0.01 * of) * radius * np.cos(angle)
    y = height * (0.3 + 0.4 * (of // 4) / 2) + height * (0.1 + 0.015 * of) * radius * np.sin(angle)
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], 1)
    return mask.view(bool)


def build(root: Path, size: Size) -> Path:
    """Writes the data set, the masks and the recipe, unless they are there; the path of the recipe."""
    random = np.random.default_rng(0)
    pool = [
        [by_pillow(Image.fromarray(blob(random, size.size, o, v).view(np.uint8) * 255)) for v in range(VARIANTS)]
        for o in range(OBJECTS)
    ]
    listed = {}
    for c, (clip, expressions) in enumerate(size.of_clips().items()):
        listed[clip] = {"expressions": {e: {"exp": f"thing {e}"} for e in expressions}, "frames": size.frame_names()}
        for s, source in enumerate(SOURCES):
            for e in expressions:
                folder = root / source / clip / e
                if folder.is_dir():
                    continue
                folder.mkdir(parents=True)
                variants = pool[(5 * c + int(e) // 2) % OBJECTS]
                for t, frame in enumerate(size.frame_names()):
                    (folder / f"{frame}.png").write_bytes(variants[(t + 3 * s + int(e)) % VARIANTS])
    meta = root / "data/meta_expressions/valid/meta_expressions.json"
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(json.dumps({"videos": listed}))
    (root / "data/valid").mkdir(exist_ok=True)
    recipe = root / "votes.yaml"
    sources = ", ".join(f"{s}: {{adapter: files, path: {root / s}}}" for s in SOURCES)
    recipe.write_text(RECIPE.format(root=root, sources=sources))
    return recipe


def codec(root: Path, size: Size, distinct: int) -> float:
    """CPU seconds to decode every mask of the models once, and to encode as many as the result has distinct ones."""
    started = time.process_time()
    done = 0
    for source in SOURCES:
        for clip, expressions in size.of_clips().items():
            for e in expressions:
                for frame in size.frame_names():
                    values = png.read(root / source / clip / e / f"{frame}.png").values
                    if done < distinct:
                        png.encode(values != 0)
                        done += 1
    return time.process_time() - started


def distinct_masks(size: Size) -> int:
    """Number of masks of the result that differ: both expressions of a pair receive the same."""
    return size.frames * sum(-(-len(expressions) // 2) for expressions in size.of_clips().values())


def command(*arguments: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of `run_ensemble.py` with these arguments, in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, run_ensemble.__file__, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def run_here(arguments: list[str]) -> tuple[float, Parts]:
    """CPU seconds of a run in this process, in all and by parts."""
    parts, started = Parts(), time.process_time()
    with parts.measure(), contextlib.redirect_stdout(io.StringIO()) as said:
        code = run_ensemble.main(arguments)
    if code:
        raise RuntimeError(f"exit code {code}: {said.getvalue()}")
    return time.process_time() - started, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=202)
    parser.add_argument("--expressions", type=int, default=834)
    parser.add_argument("--frames", type=int, default=27)
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280))
    a = parser.parse_args()
    cv2.setNumThreads(1)
    size = Size(a.clips, a.expressions, a.frames, tuple(a.size))
    root = a.folder.resolve()
    recipe = build(root, size)
    out = root / "out"
    arguments = [f"recipe={recipe}", f"out={out}", f"store={root / 'store'}"]
    before = codec(root, size, distinct_masks(size))
    used, parts = run_here(arguments)
    after = codec(root, size, distinct_masks(size))
    pure = (before + after) / 2
    again, parts_again = run_here(arguments)
    masks = size.frames * size.expressions
    print(
        f"{size.clips} clips, {size.expressions} expressions, {masks} masks of {size.size[0]}x{size.size[1]} from "
        f"{len(SOURCES) * masks} files; CPU time on one core"
    )
    print(f"codec alone    {pure:8.2f} s  {1e3 * pure / masks:6.2f} ms a mask ({before:.1f} s, {after:.1f} s)")
    print(f"the run        {used:8.2f} s  {1e3 * used / masks:6.2f} ms a mask  {used / pure:.2f}x")
    print_parts(used, parts, pure)
    print(f"the run again  {again:8.2f} s  nothing is computed")
    print_parts(again, parts_again, pure)
    for name, words in {"start-up (list vote)": ["list", "vote"], "the run again, as a command": arguments}.items():
        wall, cpu = command(*words)
        print(f"{name:30}{cpu:8.2f} s of CPU, {wall:.1f} s")


def print_parts(used: float, parts: Parts, pure: float) -> None:
    """Prints the time of every part of a run, and its ratio to that of the codec."""
    for name, seconds in parts.seconds.items():
        print(f"  {name:28}{seconds:8.2f} s  {seconds / pure:6.2f}x")
    print(f"  {'everything else':28}{used - sum(parts.seconds.values()):8.2f} s")


if __name__ == "__main__":
    main()
