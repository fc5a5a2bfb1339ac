"""The pictures of the README: some frames of one expression, the sentence above what sources and steps make of it.

    python -m benchmarks.picture OUT.jpg recipe=stage2 CLIP EXPRESSION soc uninext smr_aot final
    python -m benchmarks.picture OUT.jpg recipe=open data.video=dog.mp4 "data.expressions=[a dog]" dog 0 open=

Results of a run that is there are read, others computed. The first row is the ground truth, where there is one. A step
is titled by its name, or by the words after `STEP=`. The key frame of a step is underlined.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rvos_ensemble.ensemble.engine.graph import Graph, nodes_of
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.storage.store import Store
from rvos_ensemble.ensemble.recipe import recipe
from rvos_ensemble.ensemble.report.overlays import overlay

COLUMNS, WIDTH, GAP = 6, 180, 2  # frames shown, pixels
HEADING, TITLE = 20, 13  # sizes of the font, pixels


def main(arguments: list[str]) -> None:
    target = Path(arguments[0])
    given = [a for a in arguments[1:] if a.partition("=")[0] in ("recipe", "out") or a.startswith("data")]
    name, expression, *shown = (a for a in arguments[1:] if a not in given)
    made = recipe.load(given)
    clip = next(c for c in made.dataset.clips() if c.name == name)
    keys = keys_of(made, clip)
    graph = Graph(clip, Store(made.store), nodes_of(made, keys, keys))
    by_key = graph.predictions(keys.values())
    results = {name: by_key[key] for name, key in keys.items() if key in by_key}
    frames = np.linspace(0, len(clip) - 1, COLUMNS).round().astype(int)
    sentence = next(e.text for e in clip.expressions if e.id == expression)
    rows = [_text(f"“{sentence}”", HEADING, COLUMNS * (WIDTH + GAP))]
    if clip.truth is not None:
        rows += _row(clip, frames, "ground truth", clip.truth.read(expression))
    for step in shown:
        step, named, title = step.partition("=")
        rows += _row(clip, frames, title if named else step, results[step][expression])
    print(f"{clip.name}, expression {expression}: {sentence!r}, frames {frames.tolist()} -> {target}")
    cv2.imwrite(str(target), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def _text(words: str, size: int, width: int) -> np.ndarray:
    """A line of text in a font of this size, uint8 [h, width, 3]."""
    image = Image.new("RGB", (width, round(1.5 * size)), "white")
    ImageDraw.Draw(image).text((2, round(0.2 * size)), words, fill=(30, 30, 30), font=ImageFont.load_default(size))
    return np.asarray(image)


def _row(clip, frames, title, sequence) -> list[np.ndarray]:
    """A title, and overlays of the frames beside each other, uint8 [h, w, 3] each."""
    height = round(clip.size[0] * WIDTH / clip.size[1])
    keys = sequence.notes.get("key_frames", [])
    nearest = {int(frames[np.abs(frames - key).argmin()]) for key in keys}
    pictures = []
    for t in frames:
        image = overlay(clip.read(t), sequence.prob_at(t) > 127)
        image = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
        if t in nearest:
            image[-3:] = (250, 190, 20)
        pictures.append(np.pad(image, ((0, 0), (0, GAP), (0, 0)), constant_values=255))
    row = np.hstack(pictures)
    return [_text(title, TITLE, row.shape[1]), row] if title else [row]


if __name__ == "__main__":
    main(sys.argv[1:])
