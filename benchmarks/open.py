"""`open` and `topdown_real` on real clips with truth: J&F, the ablation of each, oracles, and reading apart from masks.

    python -m benchmarks.open --real FOLDER [FOLDER ...] --expressions FILE [--every 4] [--collages 2] [key=value ...]
    python -m benchmarks.open --recipe topdown_real --real FOLDER --expressions FILE

FOLDER has `JPEGImages/CLIP` and `Annotations/CLIP/FRAME.png`, grey or with a number for each object, such as
OUT/val/valid of `benchmarks.real_data`. Frames without a mask are not scored. `--expressions`: as for
`benchmarks.reading`, JSON, [[clip, frames, {"exp": sentence, "obj_id": id}], ...] or meta_expressions.json. Of a clip
without sentences only the oracle is measured. `--collages`: side by side, every clip of one object with three others.
`--every`: one frame in N. `key=value` overrides the recipe, such as `sources.objects.weights=FILE`. The test clips of
DAVIS (`TEST`) are refused.

Rows of J&F, mean over sentences, in percent. Of the recipe `open`:

    one frame   the words choose among the candidates, each in its own frame only; the choice is propagated
    raw tracks  they choose among all tracks, without tracklet-NMS
    tracklets   they choose among the tracklets that NMS keeps
    salient     the tracklet that stands out most, whatever the sentence says
    refused     `tracklets`, emptied where the words find nothing: the step `words` of the recipe
    open        the chosen ones followed again: the output of the recipe

Of `topdown_real`, the rows of Table 3 of the paper (arXiv 2106.01061), each with what the one above has:

    image-level      the words choose among the candidates, each in its own frame only
    + propagation    the choice is propagated
    + tracklets      they choose among the tracks of all candidates
    + tracklet-NMS   they choose among the tracklets that NMS keeps: the output of the recipe
    salient          the tracklet that stands out most, whatever the sentence says

A grounding network chooses in place of the words with `steps.STEP.op=ground steps.STEP.weights=FILE`, where STEP is
`grounded` and `topdown`.

The oracle is the best candidate, track or tracklet of each object. Reading: how often the object that the choice covers
best is the right one, in clips with several objects; a choice that covers none is wrong.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.reading import InMemory, collage, sentences_of
from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.ensemble.metrics.scores import score_sequence
from rvos_ensemble.ensemble.recipe.recipe import Recipe, load
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds

TEST = ("camel", "drift-straight", "horsejump-high", "kite-surf", "parkour", "scooter-black", "soapbox")
VOID = 255  # of masks with numbers, where nothing is 1
# the clips below replace the video, but it decides that weights for real video are taken
DATA = ("data=video", "data.video=clip.mp4", "data.expressions=[the object]")
OPEN_STEPS = {
    "one_frame_words": {"op": "words", "input": "candidates"},
    "one_frame": {"op": "propagate", "input": "one_frame_words", "with": "quick", "key_frame": "given"},
    "every_track": {"op": "tracklets", "input": "tracks", "scores_from": "candidates", "max_iou": 1.0, "keep": None},
    "raw": {"op": "words", "input": "every_track"},
    "kept": {"op": "words", "input": "tracklets"},
    "salient": {"op": "words", "input": "tracklets", "by": "salience"},
}
OPEN_ROWS = {
    **{"one frame": "one_frame", "raw tracks": "raw", "tracklets": "kept", "salient": "salient"},
    **{"refused": "words", "open": "open"},
}
TOPDOWN_ROWS = {
    **{"image-level": "image_level", "+ propagation": "image_level_aot", "+ tracklets": "grounded"},
    **{"+ tracklet-NMS": "topdown", "salient": "salient"},
}
ORACLES = {"candidates": "candidates", "tracks": "tracks", "tracklets": "tracklets"}


@dataclass(frozen=True)
class Ablation:
    """What is measured of a recipe.

    Attributes:
        steps: are added to the recipe.
        rows: {row of the table: step}.
        choice: the step whose choices are printed.
    """

    steps: Mapping[str, Mapping]
    rows: Mapping[str, str]
    choice: str


ABLATIONS = {
    "open": Ablation(OPEN_STEPS, OPEN_ROWS, "words"),
    "topdown_real": Ablation({"salient": OPEN_STEPS["salient"]}, TOPDOWN_ROWS, "topdown"),
}


@dataclass(frozen=True)
class Case:
    """A clip with its true objects.

    Attributes:
        clip: its expressions are the sentences.
        truth: {object: {frame: bool [H, W]}}; all objects have the same frames.
        right: {expression id: object}.
    """

    clip: Clip
    truth: Mapping[str, Mapping[int, np.ndarray]]
    right: Mapping[str, str]


def real_cases(roots: Sequence[Path], sentences: list[tuple[str, str, str]], every: int) -> Iterator[Case]:
    """The clips of some folders.

    Raises:
        SystemExit: one of them is a test clip.
    """
    for folder in (f for root in roots for f in sorted((root / "Annotations").iterdir()) if f.is_dir()):
        if folder.name in TEST:
            raise SystemExit(f"{folder} is a test clip: no setting may be chosen on it")
        pictures = sorted((folder.parent.parent / "JPEGImages" / folder.name).glob("*.jpg"))[::every]
        masks = {t: folder / f"{p.stem}.png" for t, p in enumerate(pictures)}
        truth = truth_of({t: np.array(Image.open(file)) for t, file in masks.items() if file.is_file()})
        said = [(text, i or "1") for clip, i, text in sentences if clip == folder.name and (i or "1") in truth]
        yield case_of(folder.name, tuple(p.stem for p in pictures), ImageFiles(tuple(pictures)), truth, said)


def truth_of(numbers: Mapping[int, np.ndarray]) -> dict[str, dict[int, np.ndarray]]:
    """{object: its masks} of pictures with a number for each object; grey ones, 0 and 255, have one object."""
    found = {int(n) for picture in numbers.values() for n in np.unique(picture)} - {0}
    names = found - {VOID} or found
    return {"1" if n == VOID else str(n): {t: p == n for t, p in numbers.items()} for n in sorted(names)}


def collages(cases: Sequence[Case], count: int) -> Iterator[Case]:
    """`count` collages for each case of one object, with three others beside it; only its own sentences are asked."""
    single, rng = [c for c in cases if len(c.truth) == 1 and c.right], random.Random(0)
    for case, draw in ((case, draw) for case in single for draw in range(count)):
        members = [case, *rng.sample([c for c in single if c is not case], min(3, len(single) - 1))]
        rng.shuffle(members)
        length = min(len(c.clip) for c in members)
        parts = []
        for c in members:
            empty = np.zeros(c.clip.size, bool)
            [masks] = c.truth.values()
            frames = np.stack([c.clip.read(t) for t in range(length)])
            parts.append((frames, np.stack([masks.get(t, empty) for t in range(length)])))
        pixels, masks = collage(parts)
        truth = {c.clip.name: dict(enumerate(m)) for c, m in zip(members, masks, strict=True)}
        said = [(e.text, case.clip.name) for e in case.clip.expressions]
        names = tuple(f"{t:05d}" for t in range(length))
        yield case_of(f"{case.clip.name}-{draw}", names, InMemory(pixels), truth, said)


def case_of(name: str, frames: tuple[str, ...], images, truth: dict, said: list[tuple[str, str]]) -> Case:
    """A case from frames, masks and (sentence, object)."""
    expressions = tuple(Expression(name, str(i), text) for i, (text, _) in enumerate(said))
    return Case(Clip(name, frames, expressions, images), truth, {str(i): key for i, (_, key) in enumerate(said)})


def compute(recipe: Recipe, clip: Clip) -> dict[str, Prediction]:
    """{source or step: its prediction}, without a store."""
    done = {name: adapter.predict(clip) for name, adapter in recipe.sources.items()}
    for name, step in recipe.steps.items():
        inputs = {i: done[i] for i in step.inputs}
        if step.propagator:
            moved = propagate_in_rounds(clip, step.tasks(clip, inputs), recipe.propagators[step.propagator])
            done[name] = step.results(inputs, iter(moved))
        else:
            done[name] = step.run(clip, inputs)
    return done


def own_frames(candidate: MaskSequence, truth: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The truth in the frame of a candidate; empty if that frame has none."""
    return {t: mask for t, mask in truth.items() if t == candidate.notes["key_frame"]}


def jf(sequence: MaskSequence, truth: Mapping[int, np.ndarray]) -> float:
    """J&F over the frames that have a truth, in percent; 0 without any."""
    if not truth:
        return 0.0
    predicted = MaskSequence.binary([sequence.mask(t) for t in truth])
    return 100 * score_sequence(predicted, MaskSequence.binary(list(truth.values()))).mean().JF


def covered(sequence: MaskSequence, truth: Mapping[str, Mapping[int, np.ndarray]]) -> str | None:
    """The object with the largest IoU over all frames; None if the masks touch none."""
    ious = {}
    for name, masks in truth.items():
        pairs = [(sequence.mask(t), mask) for t, mask in masks.items()]
        ious[name] = sum(np.count_nonzero(a & b) for a, b in pairs) / max(1, sum((a | b).sum() for a, b in pairs))
    best = max(ious, key=ious.get)
    return best if ious[best] > 0 else None


def report(cases: Sequence[Case], recipe: Recipe, ablation: Ablation) -> None:
    """Prints a line per clip, then the means."""
    scores: dict[str, list[float]] = {}
    right: dict[str, list[bool]] = {}
    for case in cases:
        started, used = time.perf_counter(), time.process_time()
        done = compute(recipe, case.clip)
        seconds = f"{time.perf_counter() - started:.0f} s, {time.process_time() - used:.0f} CPU seconds"
        own: dict[str, list[float]] = {}
        for name, step in ORACLES.items():
            for truth in case.truth.values():
                best = [jf(o, own_frames(o, truth) if name == "candidates" else truth) for o in done[step].values()]
                own.setdefault(f"oracle of {name}", []).append(max(best, default=0.0))
        for (row, step), (e, key) in ((r, c) for r in ablation.rows.items() for c in case.right.items()):
            own.setdefault(row, []).append(jf(done[step][e], case.truth[key]))
            if len(case.truth) > 1:
                right.setdefault(row, []).append(covered(done[step][e], case.truth) == key)
        for row, values in own.items():
            scores.setdefault(row, []).extend(values)
        words = ", ".join(f"{row} {np.mean(values):.1f}" for row, values in own.items())
        kept = f"{len(case.clip)} frames, {len(done['candidates'])} candidates, {len(done['tracklets'])} tracklets"
        print(f"{case.clip.name}: {kept}: {words} ({seconds})", flush=True)
        for e in case.clip.expressions:
            notes = done[ablation.choice][e.id].notes
            print(f"    {e.text!r}: {notes.get('chosen', notes['object'])}")
    print(f"\n| {len(cases)} clips | J&F | right object |\n|---|---|---|")
    for row, values in scores.items():
        reads = f"{np.mean(right[row]):.2f} of {len(right[row])}" if row in right else ""
        print(f"| {row} | {np.mean(values):.1f} | {reads} |")
    asked = [1 / len(case.truth) for case in cases if len(case.truth) > 1 for _ in case.right]
    if asked:
        print(f"| chance | | {np.mean(asked):.2f} |")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=ABLATIONS, default="open")
    parser.add_argument("--real", type=Path, nargs="+", required=True)
    parser.add_argument("--expressions", type=Path, nargs="+", default=[])
    parser.add_argument("--clips", nargs="+", help="only these")
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--collages", type=int, default=0, metavar="N", help="for each clip of one object")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    cv2.setNumThreads(1)
    ablation = ABLATIONS[options.recipe]
    steps = {f"steps.{name}": dict(step) for name, step in ablation.steps.items()}
    recipe = load([f"recipe={options.recipe}", *DATA, *options.overrides], steps)
    sentences = list(dict.fromkeys(s for file in options.expressions for s in sentences_of(file)))
    cases = list(real_cases(options.real, sentences, options.every))
    if options.clips:
        cases = [c for c in cases if c.clip.name in options.clips]
    report(cases, recipe, ablation)
    if options.collages:
        print("\nCollages")
        report(list(collages(cases, options.collages)), recipe, ablation)


if __name__ == "__main__":
    main()
