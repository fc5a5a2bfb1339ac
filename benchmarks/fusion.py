"""Stage-I fusion from PNG to PNG, compared with the scripts of 2023 on the same files, on one core.

    python -m benchmarks.fusion [--frames 36] [--rounds 5]

Three sources x two expressions of one object at 720p, votes >= 3 of 6, the result written for both expressions. The
files are written as the scripts of the models write them (float32 * 255, Pillow's "L"). The naive side works like the
released scripts: it decodes every mask with Pillow, sums float32 sequences, applies `np.where`, and encodes each result
with Pillow. Both sides must produce the same masks. Times are CPU seconds of this process, the best of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.ensemble.report.annotations import pictures
from rvos_ensemble.ensemble.steps.vote import Vote

H, W = 720, 1280
SOURCES = ("soc", "mutr", "referformer")
EXPRESSIONS = ("0", "1")


class Blank:
    """Frames that only have a size."""

    size = (H, W)


def ragged_blob(random: np.random.Generator, t: int) -> np.ndarray:
    """A mask that resembles a model's output: one large moving object with a random outline."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = 1 + 0.08 * np.convolve(random.normal(size=90), np.ones(5) / 2, "same")
    x = 500 + 8 * t + 190 * radius * np.cos(angle)
    y = 360 + 150 * radius * np.sin(angle)
    mask = np.zeros((H, W), np.uint8)
    cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], 1)
    return mask


def write_sources(root: Path, frames: list[str]) -> None:
    """Writes the masks of all sources."""
    for number, source in enumerate(SOURCES):
        for expression in EXPRESSIONS:
            folder = root / source / "Annotations" / "v" / expression
            folder.mkdir(parents=True)
            random = np.random.default_rng([number, int(expression)])
            for t, frame in enumerate(frames):
                mask = ragged_blob(random, t).astype(np.float32)
                Image.fromarray(mask * 255).convert("L").save(folder / f"{frame}.png")


def naive(root: Path, out: Path, frames: list[str]) -> None:
    """Fuses whole sequences in float32, as the released scripts do."""
    total = 0
    for source in SOURCES:
        for expression in EXPRESSIONS:
            folder = root / source / "Annotations" / "v" / expression
            masks = [np.array(Image.open(path).convert("P")) == 255 for path in sorted(folder.glob("*.png"))]
            total = total + np.array([mask.astype(np.float32) for mask in masks])
    fused = np.where(total >= 3, 1, 0)
    for expression in EXPRESSIONS:
        for t, frame in enumerate(frames):
            picture = Image.fromarray(fused[t].astype(np.float32) * 255).convert("L")
            picture.save(out / expression / f"{frame}.png")


def ours(root: Path, out: Path, frames: list[str]) -> None:
    """Fuses with the step `vote` of this package."""
    clip = Clip("v", tuple(frames), tuple(Expression("v", e, "a dog") for e in EXPRESSIONS), Blank())
    step = Vote("smr", inputs=list(SOURCES), across="expressions", threshold=3, grouping={"rule": "pairs"})
    inputs = {source: Files(path=str(root / source)).predict(clip) for source in SOURCES}
    for name, data in pictures(clip, step.run(clip, inputs)):
        (out / name).write_bytes(data)


def codec(root: Path, frames: list[str]) -> float:
    """Seconds that our decoder and encoder alone take for the same images."""
    started = time.process_time()
    for frame in frames:
        for source in SOURCES:
            for expression in EXPRESSIONS:
                mask = png.read(root / source / "Annotations" / "v" / expression / f"{frame}.png").values
        png.encode(mask != 0)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = [f"{5 * t:05d}" for t in range(options.frames)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sources(root, frames)
        best = dict.fromkeys(("naive", "ours", "codec"), np.inf)
        for side in ("naive", "ours"):
            for expression in EXPRESSIONS:
                (root / side / expression).mkdir(parents=True)
        for _ in range(options.rounds):
            for side, run in (("naive", naive), ("ours", ours)):
                started = time.process_time()
                run(root, root / side, frames)
                best[side] = min(best[side], time.process_time() - started)
            best["codec"] = min(best["codec"], codec(root, frames))
        for expression in EXPRESSIONS:
            for frame in frames:
                a, b = (np.array(Image.open(root / s / expression / f"{frame}.png")) for s in ("naive", "ours"))
                assert np.array_equal(a, b), f"{expression}/{frame} differs"
    n = options.frames
    print(f"stage-I fusion, 3 sources x 2 expressions, {W}x{H}, {n} frames, CPU time of one core, same masks")
    print(f"  naive script  {1e3 * best['naive'] / n:7.2f} ms/frame")
    print(f"  ours          {1e3 * best['ours'] / n:7.2f} ms/frame   {best['naive'] / best['ours']:.1f}x")
    print(
        f"  of ours, PNG  {1e3 * best['codec'] / n:7.2f} ms/frame   {100 * best['codec'] / best['ours']:.0f} %"
        f" (floor with this codec: {best['naive'] / best['codec']:.1f}x)"
    )


if __name__ == "__main__":
    main()
