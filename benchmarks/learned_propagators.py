"""J&F of propagated true masks: copied, by optical flow, by the networks of this package, and by blends of them.

    python -m benchmarks.learned_propagators [--clips 8] [--seeds 0 1 2] [--every 1 3 5] [--real FOLDER]
    python -m benchmarks.learned_propagators --only real --real OUT/val --every 1 4 --weights aot_real=FILE

OUT is a folder of `benchmarks.real_data`. The true mask of each object in the middle frame is propagated; J&F is the
mean over the other frames. Clips of `shapes` are of the test split; real clips have the layout of Ref-YouTube-VOS with
ground truth. Intervals are 95 % bootstrap intervals over clips. `--every 5` keeps one frame in five. The speed of
objects is reported as the mean IoU of a true mask with that of the next frame.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from rvos_ensemble import propagators
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS
from rvos_ensemble.adapters.inference.checkpoints.weights import weights_file
from rvos_ensemble.ensemble.metrics.bootstrap import paired_interval
from rvos_ensemble.ensemble.metrics.jf import j_and_f
from rvos_ensemble.propagators.core.propagate import PropagationTask, propagate
from rvos_ensemble.propagators.core.propagator import Propagator

Propagate = Callable[[Clip, list[MaskSequence], int], list[MaskSequence]]
NETWORKS = {"aot_nano": "aot", "deaot_nano": "deaot", "aot_real": "aot", "deaot_real": "deaot"}


def copy(clip: Clip, truth: list[MaskSequence], key: int) -> list[MaskSequence]:
    """Copies the mask of the key frame to every frame."""
    return [MaskSequence.binary([s.mask(key)] * len(clip)) for s in truth]


def with_propagator(name: str, weights: str | None = None, **settings) -> Propagate:
    """Propagates with a propagator forward and backward, as in a recipe."""
    settings |= {"weights": weights} if weights else {}
    propagator = find(name, Propagator, propagators, "rvos_ensemble.propagators")(**settings)

    def propagate_masks(clip: Clip, truth: list[MaskSequence], key: int) -> list[MaskSequence]:
        return propagate(clip, [PropagationTask(s, (key,)) for s in truth], propagator)

    return propagate_masks


def thinned(clip: Clip, every: int) -> Clip:
    """The clip reduced to one frame in `every`."""
    images = replace(clip.images, paths=clip.images.paths[::every])
    truth = replace(clip.truth, paths=clip.truth.paths[::every], images=images)
    return replace(clip, frames=clip.frames[::every], images=images, truth=truth)


def objects_of(clip: Clip) -> list[MaskSequence]:
    """The true masks of every object, once per object even if several expressions refer to it."""
    truth = [s for s in (clip.truth.read(e.id) for e in clip.expressions) if s is not None]
    return list({b"".join(s.mask(t).tobytes() for t in range(len(clip))): s for s in truth}.values())


def stillness(clips: list[Clip]) -> float:
    """Mean IoU of the true masks of an object in two consecutive frames that both show it."""
    ious = []
    for clip in clips:
        for sequence in objects_of(clip):
            masks = [sequence.mask(t) for t in range(len(clip))]
            ious += [(a & b).sum() / (a | b).sum() for a, b in pairwise(masks) if a.any() and b.any()]
    return float(np.mean(ious))


def score(propagate_masks: Propagate, clips: list[Clip]) -> tuple[dict[str, list[float]], float]:
    """({clip: J&F of each object}, CPU seconds per frame)."""
    scores, seconds, frames = {}, 0.0, 0
    for clip in clips:
        key = len(clip) // 2
        truth = [s for s in objects_of(clip) if s.mask(key).any()]
        start = time.process_time()
        predicted = propagate_masks(clip, truth, key)
        masks = [np.stack([s.mask(t) for t in range(len(clip)) if t != key]) for s in predicted]
        seconds, frames = seconds + time.process_time() - start, frames + len(clip)
        true = [np.stack([s.mask(t) for t in range(len(clip)) if t != key]) for s in truth]
        scores[clip.name] = [float(np.mean(j_and_f(p, g))) for p, g in zip(masks, true, strict=True)]
    return scores, seconds / frames


def table(title: str, clips: list[Clip], rows: dict[str, Propagate], parts: Sequence[str] = ()) -> None:
    """Prints one row per method: J&F, gain over flow, and the mean over the clips whose name contains each part."""
    results = {name: score(propagate_masks, clips) for name, propagate_masks in rows.items()}
    flow = results["flow"][0]
    objects = sum(map(len, flow.values()))
    print(f"\n{title}: {len(clips)} clips, {objects} objects, IoU with the next frame {100 * stillness(clips):.1f}\n")
    print("|".join(["", "", "J&F", "95 %", "gain over flow", "95 %", "CPU s / frame", *parts, ""]))
    print("|---" * (6 + len(parts)) + "|")
    for name, (scores, seconds) in results.items():
        mean = 100 * np.mean([x for v in scores.values() for x in v])
        gains = {c: np.subtract(v, flow[c]) for c, v in scores.items()}
        gain = 100 * np.mean([x for v in gains.values() for x in v])
        (a, b), (c, d) = ([100 * x for x in paired_interval(values)] for values in (scores, gains))
        print(
            f"| {name} | {mean:.1f} | {a:.1f} to {b:.1f} | {gain:+.1f} | {c:+.1f} to {d:+.1f} | {seconds:.3f} |", end=""
        )
        of_parts = ([x for clip, v in scores.items() if part in clip for x in v] for part in parts)
        print("".join(f" {100 * np.mean(v):.1f} |" for v in of_parts))
    if len(clips) <= 8:
        for name, (scores, _) in results.items():
            print(f"  {name:10}", ", ".join(f"{c} {100 * np.mean(v):.1f}" for c, v in scores.items() if v))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--every", type=int, nargs="+", default=[1], metavar="N", help="keep one frame in N")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/ref_davis_mini"))
    parser.add_argument("--only", choices=("shapes", "real"), help="leave out the other kind of clips")
    parser.add_argument(
        "--blend", nargs="*", default=["flow+aot_real", "flow+aot_real+deaot_real"], help="names joined by `+`"
    )
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="NAME=FILE", help="weights to use in place of the shipped ones"
    )
    options = parser.parse_args()
    files = {name: name for name in NETWORKS} | dict(w.split("=", 1) for w in options.weights)
    members = {
        n: {"propagator": f, "weights": files[n]} for n, f in NETWORKS.items() if weights_file(files[n]).is_file()
    }
    members = {"flow": {"propagator": "flow"}} | members
    rows = {"copy": copy} | {name: with_propagator(*member.values()) for name, member in members.items()}
    for names in options.blend:
        if members.keys() >= {*names.split("+")}:
            rows[names] = with_propagator("blend", of=[members[name] for name in names.split("+")])
    with tempfile.TemporaryDirectory() as folder:
        shapes, real = [], []
        if options.only != "real":
            shapes = Shapes(root=f"{folder}/shapes", split="test", seed=options.seeds, clips=options.clips).clips()
        if options.only != "shapes" and options.real.is_dir():
            real = RefYoutubeVOS(root=str(options.real), split="valid").clips()
        for every in options.every:
            frames = "every frame" if every == 1 else f"one frame in {every}"
            if shapes:
                title = f"shapes, test split, seeds {options.seeds}, {frames}"
                table(title, [thinned(c, every) for c in shapes], rows, LEVELS)
            if real:
                some = [thinned(c, every) for c in real if c.expressions]
                table(f"{options.real.name}, real video, {frames}", some, rows)


if __name__ == "__main__":
    main()
