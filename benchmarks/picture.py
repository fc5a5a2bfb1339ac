"""The picture of the README: some frames of one expression, the truth above what sources and steps make of it.

    python -m benchmarks.picture OUT.jpg recipe=stage2 CLIP EXPRESSION soc uninext smr_aot final

Results of a run that is there are read, others computed. The key frame of a step is underlined.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.ensemble.engine.graph import Graph, nodes_of
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.store import Store
from rvos_ensemble.ensemble.recipe import recipe
from rvos_ensemble.ensemble.report.overlays import overlay

COLUMNS, WIDTH, GAP, LINE = 6, 180, 2, 17  # frames shown, pixels


def main(arguments: list[str]) -> None:
    target = Path(arguments[0])
    given = [a for a in arguments[1:] if "=" in a]
    name, expression, *shown = (a for a in arguments[1:] if "=" not in a)
    made = recipe.load(given)
    clip = next(c for c in made.dataset.clips() if c.name == name)
    keys = keys_of(made, clip)
    graph = Graph(clip, Store(made.store), nodes_of(made, keys, keys))
    by_key = graph.predictions(keys.values())
    results = {name: by_key[key] for name, key in keys.items() if key in by_key}
    frames = np.linspace(0, len(clip) - 1, COLUMNS).round().astype(int)
    rows = [_row(clip, frames, "ground truth", clip.truth.read(expression))]
    for step in shown:
        rows.append(_row(clip, frames, step, results[step][expression]))
    sentence = next(e.text for e in clip.expressions if e.id == expression)
    print(f"{clip.name}, expression {expression}: {sentence!r}, frames {frames.tolist()} -> {target}")
    cv2.imwrite(str(target), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


def _row(clip, frames, title, sequence) -> np.ndarray:
    """Overlays of the frames beside each other under a title, uint8 [h, w, 3]."""
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
    head = np.full((LINE, row.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return np.vstack([head, row])


if __name__ == "__main__":
    main(sys.argv[1:])
