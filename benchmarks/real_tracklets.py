"""Tracklets from object proposals on real video: which of them NMS keeps, and the quality of the best one.

    python -m benchmarks.real_tracklets ROOT PROPOSALS [--with aot] [--k 7] [--most 5] [--pictures FOLDER]

ROOT has the layout of Ref-YouTube-VOS, with ground truth of one object per clip; PROPOSALS is a path that
`adapter: proposals` reads. For each clip, the best J&F according to the ground truth: of the segmenter's own tracks, if
it tracks; of all tracklets; of the kept tracklets. `--pictures` writes one sheet per clip with the kept tracklets, best
score first, and the J&F of each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.proposals import Proposals
from rvos_ensemble.ensemble.metrics import scores as metrics
from rvos_ensemble.ensemble.recipe.components import KINDS
from rvos_ensemble.ensemble.report.overlays import overlay
from rvos_ensemble.ensemble.steps.candidates import Candidates
from rvos_ensemble.ensemble.steps.tracklets import Tracklets
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator

WIDTH, COLUMNS = 256, 5  # width of a picture; number of pictures per tracklet


def best(objects: Objects, truth: MaskSequence) -> tuple[str, float]:
    """The object with the highest J&F, and its J&F."""
    scores = {name: metrics.score_sequence(s, truth).mean().JF for name, s in objects.items()}
    name = max(scores, key=scores.get)
    return name, scores[name]


def sheet(clip: Clip, kept: Objects, truth: MaskSequence) -> np.ndarray:
    """One row of pictures per tracklet, uint8 [H, W, 3] BGR."""
    rows = []
    for name, sequence in kept.items():
        score = metrics.score_sequence(sequence, truth).mean().JF
        row = []
        for t in np.linspace(0, len(clip) - 1, COLUMNS).astype(int):
            picture = overlay(clip.read(t), sequence.mask(t))
            picture = cv2.resize(picture, (WIDTH, WIDTH * clip.size[0] // clip.size[1]), interpolation=cv2.INTER_AREA)
            row.append(np.ascontiguousarray(picture[..., ::-1]))
        cv2.putText(row[0], f"{name}  J&F {score:.2f}", (6, 16), 0, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        rows.append(np.hstack(row))
    return np.vstack(rows)


def measure(clip: Clip, proposals: Objects, propagator: Propagator, k: int, most: int) -> tuple[str, Objects]:
    """A line of the table, and the kept tracklets."""
    started = time.process_time()
    found = Candidates("candidates", inputs=["s"], k=k, most=most).run(clip, {"s": proposals})
    moved = propagate(clip, [PropagationTask(s, (s.notes["key_frame"],)) for s in found.values()], propagator)
    tracks = Objects(zip(found, moved, strict=True))
    kept = Tracklets("kept", input="t", scores_from="c").run(clip, {"t": tracks, "c": found})
    took = time.process_time() - started
    truth = clip.truth.read(clip.expressions[0].id)
    figures = [f"{best(o, truth)[1]:8.3f}" for o in (proposals, tracks, kept)]
    return f"{clip.name:12}{len(clip):7}{len(found):11}{len(kept):6} {' '.join(figures)} {took:7.0f} s", kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root")
    parser.add_argument("proposals")
    parser.add_argument("--with", dest="propagator", default="aot")
    parser.add_argument("--k", type=int, default=7)
    parser.add_argument("--most", type=int, default=5)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    propagator = find(options.propagator, *KINDS["propagator"])
    propagator = propagator(**({} if options.propagator == "flow" else {"weights": f"{options.propagator}_nano"}))
    source = Proposals(path=options.proposals)
    columns = " ".join(f"{name:>8}" for name in ("own", "all", "kept"))
    print(f"{'clip':12}{'frames':>7}{'candidates':>11}{'kept':>6} {columns}   (J&F, oracle)")
    for clip in RefYoutubeVOS(root=options.root, split="valid").clips():
        if clip.truth is None or source.check([clip]):
            continue
        line, kept = measure(clip, source.predict(clip), propagator, options.k, options.most)
        print(line, flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            truth = clip.truth.read(clip.expressions[0].id)
            cv2.imwrite(str(options.pictures / f"{clip.name}.jpg"), sheet(clip, kept, truth))


if __name__ == "__main__":
    main()
