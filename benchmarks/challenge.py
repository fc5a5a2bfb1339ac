"""From sources on disk to the checked zip: a test set of the size of MeViSv2's of 2026, one command, time and memory.

    python -m benchmarks.challenge FOLDER [--videos 40] [--expressions 10] [--frames 60] [--size 480 854]

FOLDER receives the data set (moving boxes over noise), the masks of three sources, two as trees of PNGs and one as run
lengths in a json file, and a recipe with a vote and a team. For a tenth of the expressions, all sources answer
"nothing"; for another tenth, one of them does. The command is that of the README, with all defaults. Afterwards the zip
is read without this package: its names, team.json, and black masks where nothing was answered.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import zipfile
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files.readers.coco_rle import encode

TEAM = {
    "agreement": True,
    "team_name": "benchmark",
    "members": [{"name": "A. Name", "affiliation": "A place"}],
    "email": "name@place.org",
}
RECIPE = """# A vote of three sources for the server of MeViSv2.
data: {{dataset: mevis, root: {root}, split: test, version: 2, counts: [{videos}, {expressions}], team_file: true}}
team: {team}
sources:
  first: {{adapter: files, path: {root}/first}}
  second: {{adapter: files, path: {root}/second}}
  third: {{adapter: files, path: {root}/third.json}}
steps:
  vote: {{op: vote, inputs: [first, second, third], threshold: 2}}
output: vote
"""
POSITIONS = 6  # distinct masks per expression and source; frames repeat them


def write(path: Path, data: bytes) -> None:
    """Writes a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def boxes(video: int, expression: int, source: int, size: tuple[int, int]) -> list[np.ndarray]:
    """The distinct masks of one source for one expression, bool [H, W]; empty where it answers "nothing"."""
    masks = []
    for t in range(POSITIONS):
        mask = np.zeros(size, bool)
        y, x = size[0] * expression // 20 + 4 * source, size[1] * (video % 10) // 20 + 12 * t
        mask[y : y + size[0] // 4, x : x + size[1] // 6] = not (expression == 0 or (expression == 1 and source == 0))
        masks.append(mask)
    return masks


def build(root: Path, videos: int, expressions: int, frames: int, size: tuple[int, int]) -> Path:
    """Writes everything; the path of the recipe."""
    names, listed, runs = [f"{t:05d}" for t in range(frames)], {}, {}
    random = np.random.default_rng(0)
    for v in range(videos):
        noise = cv2.resize(random.integers(0, 256, (30, 54, 3), np.uint8), size[::-1])
        picture = cv2.imencode(".jpg", noise)[1].tobytes()
        video = f"video{v:02d}"
        listed[video] = {"expressions": {str(e): {"exp": f"box {e}"} for e in range(expressions)}, "frames": names}
        for name in names:
            write(root / "test/JPEGImages" / video / f"{name}.jpg", picture)
        for e in range(expressions):
            for s, source in enumerate(("first", "second")):
                pictures = [png.encode(mask) for mask in boxes(v, e, s, size)]
                for t, name in enumerate(names):
                    write(root / source / video / str(e) / f"{name}.png", pictures[t % POSITIONS])
            rles = encode(boxes(v, e, 2, size))
            runs.setdefault(video, {})[str(e)] = [rles[t % POSITIONS] for t in range(frames)]
    write(root / "test/meta_expressions_text_release.json", json.dumps({"videos": listed}).encode())
    write(root / "third.json", json.dumps(runs).encode())
    recipe = root / "challenge.yaml"
    recipe.write_text(RECIPE.format(root=root, videos=videos, expressions=expressions, team=json.dumps(TEAM)))
    return recipe


def verify(path: Path, videos: int, expressions: int, frames: int) -> int:
    """Reads the zip as a server would; the number of masks in it."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        numbers = product(range(videos), range(expressions), range(frames))
        wanted = {f"video{v:02d}/{e}/{t:05d}.png" for v, e, t in numbers}
        assert names == wanted | {"team.json"}, names ^ wanted
        assert json.loads(archive.read("team.json")) == TEAM
        for e, empty in ((0, True), (1, False)):
            data = np.frombuffer(archive.read(f"video00/{e}/00000.png"), np.uint8)
            assert cv2.imdecode(data, cv2.IMREAD_UNCHANGED).any() != empty
    return len(wanted)


def main() -> None:
    """Builds the data, runs the command, and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--expressions", type=int, default=10)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 854))
    a = parser.parse_args()
    recipe = build(a.folder.resolve(), a.videos, a.expressions, a.frames, tuple(a.size))
    started = time.perf_counter()
    command = [sys.executable, "run_ensemble.py", f"recipe={recipe}", f"out={a.folder / 'out'}"]
    subprocess.run(command, check=True)
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    masks = verify(a.folder / "out/submission.zip", a.videos, a.expressions, a.frames)
    print(
        f"{masks} masks in a checked zip of {(a.folder / 'out/submission.zip').stat().st_size / 2**20:.0f} MiB: "
        f"{seconds:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU time, "
        f"{used.ru_maxrss / 1024:.0f} MiB in the largest process"
    )


if __name__ == "__main__":
    main()
