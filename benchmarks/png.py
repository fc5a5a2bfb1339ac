"""Mask PNGs at 720p: milliseconds to decode and encode with this codec and with Pillow, for ragged outlines.

python -m benchmarks.png [FOLDER_OF_PNG]
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.io import png


def fastest(work: Callable[[], object], repeats: int = 20) -> float:
    """Milliseconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def blobs(count=12, height=720, width=1280) -> list[np.ndarray]:
    """Masks of blobs whose outline is a sum of waves, bool [H, W] each."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    masks = []
    for _ in range(count):
        at_y, at_x, radius = random.uniform((250, 400, 80), (470, 880, 250))
        angle = np.arctan2(y - at_y, x - at_x)
        outline = sum(random.normal(0, 0.25 / k) * np.cos(k * angle + random.uniform(0, 6)) for k in range(1, 30))
        masks.append(np.hypot(y - at_y, x - at_x) < radius * (1 + outline))
    return masks


def real(folder: Path) -> list[np.ndarray]:
    """Masks from files, resized to 720p."""
    files = sorted(folder.rglob("*.png"))
    return [
        np.array(Image.fromarray(png.read(f).values).resize((1280, 720), 0)) > 0 for f in files[:: len(files) // 12]
    ]


def by_pillow(image: Image.Image) -> bytes:
    """The PNG that Pillow writes."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def main() -> None:
    masks = real(Path(sys.argv[1])) if len(sys.argv) > 1 else blobs()
    palettes = [Image.fromarray(m.view(np.uint8)) for m in masks]
    for image in palettes:
        image.putpalette(png.DAVIS_PALETTE)
    written = {
        "0/255 by Pillow (models)": [
            by_pillow(Image.fromarray(m.astype(np.float32) * 255).convert("L")) for m in masks
        ],
        "1-bit by Pillow": [by_pillow(Image.fromarray(m)) for m in masks],
        "palette by Pillow": [by_pillow(image) for image in palettes],
        "0/255 by this codec": [png.encode(m) for m in masks],
    }
    print(f"{len(masks)} masks, 720x1280; mean of the fastest runs")
    print(f"{'decode':26}{'bytes':>8}{'Pillow ms':>11}{'here ms':>9}{'times':>7}")
    for name, files in written.items():
        theirs = np.mean([fastest(lambda f=f: np.array(Image.open(io.BytesIO(f)))) for f in files])
        ours = np.mean([fastest(lambda f=f: png.decode(f, "")) for f in files])
        print(f"{name:26}{np.mean([len(f) for f in files]):8.0f}{theirs:11.2f}{ours:9.2f}{theirs / ours:7.1f}")
    theirs = np.mean(
        [fastest(lambda m=m: by_pillow(Image.fromarray(m.view(np.uint8) * np.uint8(255))), 3) for m in masks]
    )
    ours = np.mean([fastest(lambda m=m: png.encode(m)) for m in masks])
    print(f"{'encode 0/255':34}{theirs:11.2f}{ours:9.2f}{theirs / ours:7.1f}")


if __name__ == "__main__":
    main()
