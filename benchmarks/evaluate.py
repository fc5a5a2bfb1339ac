"""Scores the same masks with the official davis2017-evaluation, with vos-benchmark and with this package.

    python -m benchmarks.evaluate --davis2017 CHECKOUT --vos-benchmark CHECKOUT --peer-python PYTHON
                                  [--data FOLDER] [--cases single ...] [--clips 20] [--rounds 3]

The peers are checkouts of github.com/davisvideochallenge/davis2017-evaluation and github.com/hkchengrex/vos-benchmark;
either may be omitted. PYTHON is an interpreter with their requirements (scikit-image, scipy, pandas, tqdm). Every side
of a case runs in a separate process with one thread. The sides take turns over the rounds, and the best values are
printed: CPU seconds of the scoring, CPU seconds of the whole process with interpreter and imports, and its peak memory.
All scores of every side are compared with ours.

Cases, with synthetic masks of moving objects with ragged outlines, written with Pillow as common tools write them:

    single        DAVIS semi-supervised, 20 clips of 66 frames at 480x854, one object
    multi         DAVIS semi-supervised, 30 clips of 66 frames, 1 to 3 objects
    unsupervised  DAVIS unsupervised, 10 clips of 66 frames, 1 to 3 objects, void along outlines, more proposals
    expressions   Ref-YouTube-VOS, 20 clips of 30 frames at 720x1280, two expressions each, 0/255 masks as ReferFormer
                  saves them; the peer is a loop over the official db_eval_iou and db_eval_boundary
    prepared      the files of single: ground truth prepared in memory, predictions in files; this package only
    memory        the files of single: both sides in memory, ours prepared and packed (the process also reads the files)

With `--data` (a folder with `ref_davis_mini` and `predictions/osvos`) single, prepared and memory use real masks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.io.png import DAVIS_PALETTE

CASES = ("single", "multi", "unsupervised", "expressions", "prepared", "memory")
CASES_OF = {
    "ours": CASES,
    "davis2017": ("single", "multi", "unsupervised", "expressions", "memory"),
    "vos-benchmark": ("single", "multi", "memory"),
}
FRAMES, SIZE = 66, (480, 854)
OBJECTS = (1, 2, 3, 2)  # repeated over the clips; 2 on average, as in the validation set of DAVIS 2017
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
SIDE = Path(__file__).with_name("evaluate_side.py")


def clip(
    seed: int, objects: int, frames: int = FRAMES, size: tuple[int, int] = SIZE, void: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of each frame, label maps: objects that move, turn, bend and occlude each other.

    Each object fills up to a tenth of the frame. The prediction is off by a few pixels and has a more ragged outline.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    order = np.arange(1, 9)
    start = np.stack([(np.arange(objects) + 0.5) * width / objects, rng.uniform(0.35, 0.65, objects) * height], 1)
    speed = rng.normal(0, 0.003 * width, (objects, 2))
    radius = rng.uniform(0.12, 0.22, objects) * height
    depth, phase = rng.normal(0, 0.3 / order, (objects, 8)), rng.uniform(0, 6.3, (objects, 8))
    for t in range(frames):
        maps = np.zeros((2, *size), np.uint8)
        for i in range(objects):
            bend = depth[i] @ np.cos(np.outer(order, angle) + phase[i, :, None] + 0.05 * t)
            ragged = np.convolve(rng.normal(0, 0.05, angle.size), np.ones(3) / 2, "same")
            off = rng.normal(0, 0.004 * height, 2)
            for labels, noise, shift in ((maps[0], 0.0, 0.0), (maps[1], ragged, off)):
                reach = radius[i] * np.clip(1 + bend + noise, 0.2, None)
                points = np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None] + start[i] + speed[i] * t + shift
                outline = [points.round().astype(np.int32)]
                cv2.fillPoly(labels, outline, i + 1)
                if void and labels is maps[0]:
                    cv2.polylines(labels, outline, True, 255, 5)
        yield maps[0], maps[1]


def save(path: Path, labels: np.ndarray) -> None:
    """Writes a label map as palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette(DAVIS_PALETTE)
    image.save(path)


def davis_root(root: Path, videos: dict[str, Iterator[tuple[np.ndarray, np.ndarray]]]) -> Path:
    """A DAVIS root for the official code, which only counts the video frames, with predictions in `pred`."""
    for video, frames in videos.items():
        for t, (truth, prediction) in enumerate(frames):
            save(root / "Annotations" / "480p" / video / f"{t:05d}.png", truth)
            save(root / "pred" / video / f"{t:05d}.png", prediction)
            picture = root / "JPEGImages" / "480p" / video / f"{t:05d}.jpg"
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.touch()
    (root / "Annotations_unsupervised").symlink_to("Annotations")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("".join(f"{video}\n" for video in videos))
    return root


def real(truth: Path, prediction: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks of a DAVIS video and of a real model, OSVOS; all objects are merged into one."""
    for file in sorted(truth.iterdir()):
        pair = (np.array(Image.open(path)) > 0 for path in (file, prediction / file.name))
        yield tuple(mask.astype(np.uint8) for mask in pair)


def proposals(seed: int, objects: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth with void, and the prediction with other numbers and one proposal that is not an object."""
    number = np.random.default_rng(seed).permutation(objects + 1) + 1
    renumber = np.concatenate([[0], number]).astype(np.uint8)
    for truth, prediction in clip(seed, objects, void=True):
        prediction[:60, :90][prediction[:60, :90] == 0] = objects + 1
        yield truth, renumber[prediction]


def expressions(root: Path, clips: int) -> Path:
    """A Ref-YouTube-VOS root, with predictions in `Annotations`."""
    frames = [f"{5 * t:05d}" for t in range(30)]
    texts = {str(i): {"exp": "a thing", "obj_id": str(i + 1)} for i in range(2)}
    for n in range(clips):
        for frame, (truth, prediction) in zip(frames, clip(n, 2, len(frames), (720, 1280)), strict=True):
            save(root / "valid" / "Annotations" / f"{n:02d}" / f"{frame}.png", truth)
            for i in texts:
                path = root / "Annotations" / f"{n:02d}" / i / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((prediction == int(i) + 1).astype(np.float32) * 255).convert("L").save(path)
    meta = root / "meta_expressions" / "valid" / "meta_expressions.json"
    meta.parent.mkdir(parents=True)
    videos = {f"{n:02d}": {"expressions": texts, "frames": frames} for n in range(clips)}
    meta.write_text(json.dumps({"videos": videos}))
    return root


def write(case: str, root: Path, clips: int, data: Path | None) -> Path:
    """The folder of a case, below the `root` of all cases; cases with the same files share a folder."""
    case = {"prepared": "single", "memory": "single"}.get(case, case)
    folder = root / case
    if folder.exists():
        return folder
    if case == "expressions":
        return expressions(folder, clips)
    if case == "multi":
        return davis_root(folder, {f"{n:02d}": clip(n, OBJECTS[n % 4]) for n in range(3 * clips // 2)})
    if case == "unsupervised":
        return davis_root(folder, {f"{n:02d}": proposals(n, OBJECTS[n % 4]) for n in range((clips + 1) // 2)})
    if data:
        truth, pred = data / "ref_davis_mini" / "valid" / "Annotations", data / "predictions" / "osvos"
        return davis_root(folder, {video.name: real(video, pred / video.name) for video in sorted(truth.iterdir())})
    return davis_root(folder, {f"{n:02d}": clip(n, 1) for n in range(clips)})


@dataclass
class Best:
    """The best values over the rounds of one side: CPU seconds, peak MB, MB after the imports; and its scores."""

    seconds: float = float("inf")
    whole: float = float("inf")
    peak: float = float("inf")
    imported: float = float("inf")
    scores: dict[str, dict] = field(default_factory=dict)

    def add(self, command: list[str], result: Path) -> None:
        """Runs one more round: a process that writes `result`."""
        process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stderr=subprocess.PIPE)
        errors = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        if status or not result.exists():  # the official code ends with status 0 on bad input
            raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
        report = json.loads(result.read_text())
        result.unlink()
        self.whole = min(self.whole, usage.ru_utime + usage.ru_stime)
        for name in ("seconds", "peak", "imported"):
            setattr(self, name, min(getattr(self, name), report[name]))
        self.scores = report["scores"]


def difference(scores: dict[str, dict], expected: dict[str, dict]) -> tuple[int, float]:
    """The number of values that two sides share, and their largest difference.

    Raises:
        SystemExit: they did not score the same objects.
    """
    if scores.keys() != expected.keys():
        raise SystemExit(f"scored by one side only: {sorted(scores.keys() ^ expected.keys())}")
    pairs = [(own[m], expected[u][m]) for u, own in scores.items() for m in own.keys() & expected[u].keys()]
    gaps = np.concatenate([np.abs(np.atleast_1d(a) - np.atleast_1d(b)) for a, b in pairs])
    return gaps.size, float(gaps.max())


def compare(case: str, folder: Path, sides: dict[str, list[str]], rounds: int) -> None:
    """Runs the sides of a case in turns and prints one line per side."""
    sides = {side: words for side, words in sides.items() if case in CASES_OF[side]}
    best, result = {side: Best() for side in sides}, folder / "result.json"
    for _ in range(rounds):
        for side, (python, *checkout) in sides.items():
            best[side].add([python, str(SIDE), side, case, str(folder), str(result), *checkout], result)
    own = best["ours"]
    masks = sum(1 for _ in (folder / ("Annotations" if case == "expressions" else "pred")).rglob("*.png"))
    print(f"\n{case}: {masks} predicted masks", flush=True)
    print(f"{'':14}{'CPU s':>9}{'with imports':>21}{'peak MB':>13}{'imports MB':>19}   largest difference")
    for side, values in best.items():
        line = f"{side:14}"
        for value, our in ((values.seconds, own.seconds), (values.whole, own.whole), (values.peak, own.peak)):
            line += f"{value:9.2f}" if our < 100 else f"{value:9.0f}"
            line += " " * 8 if values is own else f"{value / our:7.1f}x"
        line += f"{values.imported:9.0f}"
        if values is not own:
            count, gap = difference(values.scores, own.scores)
            line += f"   {gap:g} in {count} numbers"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--davis2017", metavar="CHECKOUT")
    parser.add_argument("--vos-benchmark", metavar="CHECKOUT")
    parser.add_argument("--peer-python", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--data", metavar="FOLDER", type=Path)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sides = {"ours": [sys.executable]}
    for side in ("davis2017", "vos-benchmark"):
        if checkout := getattr(options, side.replace("-", "_")):
            sides[side] = [options.peer_python, str(Path(checkout).resolve())]
    with tempfile.TemporaryDirectory() as root:
        for case in options.cases:
            folder = write(case, Path(root), options.clips, options.data)
            compare(case, folder, sides, options.rounds)


if __name__ == "__main__":
    main()
