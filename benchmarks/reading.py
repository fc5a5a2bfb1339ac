"""How often the step `words` reads a sentence right, measured apart from masks: the objects are true masks.

    python -m benchmarks.reading --real FOLDER [FOLDER ...] --expressions FILE [--draws 3] [--tiles 4] [--failures]
    python -m benchmarks.reading --shapes 20
    python -m benchmarks.reading --coverage FILE

`--real`: folders with `JPEGImages/CLIP` and `Annotations/CLIP`, such as OUT/video and OUT/val/valid of
`benchmarks.real_data`: clips of one object each. `--tiles` are put side by side, in random order, and a sentence
describes one of them. In collages of different kinds, one clip is of a person, one of a car, and so on; sentences of a
kind that is not there show whether the presence is low. In collages of any kind, "a dog" may fit two clips, and counts
as right only for its own.
`--expressions`: JSON, a list of [clip, frames, {"exp": sentence, "obj_id": id}] as in the repository of SOC, or
meta_expressions.json of Ref-YouTube-VOS. `--shapes`: clips of the val split of `shapes`, with all their objects.
`--coverage`: how many words of such sentences are understood; needs no pictures.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.inference.image_classes import extra
from rvos_ensemble.adapters.inference.image_classes.names import by_name
from rvos_ensemble.ensemble.fusion.words.lexicon import FILLERS, PEOPLE
from rvos_ensemble.ensemble.fusion.words.sentence import parse
from rvos_ensemble.ensemble.steps.words import Words
from rvos_ensemble.propagators.core.key_frames import uniform

FRAMES, TILE = 12, (240, 427)  # of a collage: frames, and height and width of a tile
KINDS = {  # of clips of DAVIS; every other clip is a kind of its own
    **dict.fromkeys(("bmx-trees", "breakdance", "dance-twirl", "motocross-jump", "paragliding-launch"), "person"),
    **dict.fromkeys(("car-roundabout", "car-shadow", "drift-chicane"), "car"),
    **dict.fromkeys(("dog", "libby"), "dog"),
    **dict.fromkeys(("cows", "goat"), "cattle"),
}
TAUS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
SYSTEMS = {
    "most salient": {"by": "salience"},
    "words without image classes": {"object_words": "off"},
    "words": {},
}


@dataclass(frozen=True)
class InMemory:
    """Frames that are held in memory, uint8 [T, H, W, 3] RGB."""

    pixels: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[1:3]

    def read(self, t: int) -> np.ndarray:
        """Frame t."""
        return self.pixels[t]

    def fingerprint(self) -> str:
        """Not needed here."""
        return ""

    def problems(self) -> list[str]:
        """None."""
        return []


@dataclass(frozen=True)
class Task:
    """A clip with objects, and which object each sentence describes.

    Attributes:
        clip: its expressions are the sentences.
        objects: the true objects.
        right: {expression id: the name of the object; None if the sentence refers to nothing in the clip}.
    """

    clip: Clip
    objects: Objects
    right: Mapping[str, str | None]


def sentences_of(file: Path) -> list[tuple[str, str, str]]:
    """(clip, object id or "", sentence) of a file of expressions, each once."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, list):
        rows = [(clip, str(e.get("obj_id", "")), e["exp"]) for clip, _, e in content]
    else:
        videos = content["videos"].items()
        rows = [(c, str(e.get("obj_id", "")), e["exp"]) for c, v in videos for e in v["expressions"].values()]
    return list(dict.fromkeys(rows))


def read_clip(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, H, W, 3] and the mask of all objects, bool [T, H, W], of at most `FRAMES` annotated frames."""
    masks = sorted((root / "Annotations" / name).glob("*.png"))
    masks = [masks[i] for i in uniform(len(masks), FRAMES)]
    frames = [root / "JPEGImages" / name / f"{m.stem}.jpg" for m in masks]
    pictures = [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in frames]
    return np.stack(pictures), np.stack([np.array(Image.open(m)) > 0 for m in masks])


def task_of(
    name: str, pixels: np.ndarray, masks: Mapping[str, np.ndarray], right: list[tuple[str, str | None]]
) -> Task:
    """A task from pixels, masks bool [T, H, W] by name, and (sentence, object) pairs."""
    expressions = tuple(Expression(name, str(i), sentence) for i, (sentence, _) in enumerate(right))
    clip = Clip(name, tuple(f"{t:05d}" for t in range(len(pixels))), expressions, InMemory(pixels))
    objects = Objects({key: MaskSequence.binary(m, np.ones(len(m))) for key, m in masks.items()})
    return Task(clip, objects, {str(i): key for i, (_, key) in enumerate(right)})


def real_tasks(
    roots: Sequence[Path], sentences: list[tuple[str, str, str]], draws: int, tiles: int, alike: bool
) -> Iterator[Task]:
    """Collages: `draws` for each clip that has sentences, of clips of different kinds unless `alike`."""
    where = {p.name: root for root in roots for p in sorted((root / "Annotations").iterdir()) if p.is_dir()}
    said = {name: [s for clip, _, s in sentences if clip == name] for name in where}
    clips = {name: read_clip(root, name) for name, root in where.items() if said[name]}
    rng = random.Random(0)
    for draw, name in [(draw, name) for name in clips for draw in range(draws)]:
        members = [name]
        for other in rng.sample(sorted(clips), len(clips)):
            kinds = [name] if alike else [KINDS.get(m, m) for m in members]
            if len(members) < tiles and (other if alike else KINDS.get(other, other)) not in {*kinds, *members}:
                members.append(other)
        rng.shuffle(members)
        pixels, masks = collage([clips[m] for m in members])
        named = dict(zip(members, masks, strict=True))
        present = {KINDS.get(m, m) for m in members}
        absent = [] if alike else [m for m in sorted(clips) if KINDS.get(m, m) not in present]
        strange = said[rng.choice(absent)] if absent else []
        yield task_of(
            f"{name}-{draw}", pixels, named, [*((s, name) for s in said[name]), *((s, None) for s in strange)]
        )


def collage(clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Clips in a grid of two columns: pixels [T, H, W, 3], and the mask [T, H, W] of each clip's object."""
    h, w = TILE
    length, rows = min(len(p) for p, _ in clips), -(-len(clips) // 2)
    pixels = np.zeros((length, rows * h, 2 * w, 3), np.uint8)
    masks = [np.zeros((length, rows * h, 2 * w), bool) for _ in clips]
    for i, (frames, mask) in enumerate(clips):
        at = slice(i // 2 * h, (i // 2 + 1) * h), slice(i % 2 * w, (i % 2 + 1) * w)
        for t in range(length):
            pixels[(t, *at)] = cv2.resize(frames[t], (w, h), interpolation=cv2.INTER_AREA)
            small = cv2.resize(mask[t].astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
            masks[i][(t, *at)] = small > 0
    return pixels, masks


def shapes_tasks(count: int, folder: str) -> Iterator[Task]:
    """Clips of `shapes` with all objects that some expression describes alone."""
    for clip in Shapes(root=folder, clips=count, split="val").clips():
        truth = {e.id: clip.truth.read(e.id) for e in clip.expressions}
        keys = {i: np.stack([s.mask(t) for t in range(len(clip))]).tobytes() for i, s in truth.items()}
        names = {key: str(n) for n, key in enumerate(dict.fromkeys(keys.values()))}
        objects = Objects({names[keys[i]]: s.with_(notes={}) for i, s in truth.items()})
        if len(objects) > 1:
            yield Task(clip, objects, {i: names[key] for i, key in keys.items()})


@dataclass(frozen=True)
class Answer:
    """What was chosen for a sentence: the sentence, the right object, the chosen one, and what the notes say."""

    sentence: str
    right: str | None
    chosen: str | list[str]
    presence: float | None
    note: str

    @property
    def is_right(self) -> bool:
        """Whether the right object was chosen, and no other."""
        return self.chosen in (self.right, [self.right])


def answers(task: Task, options: Mapping[str, str]) -> list[Answer]:
    """The answer to every sentence of a task."""
    result = Words("words", input="objects", **options).run(task.clip, {"objects": task.objects})
    return [
        Answer(e.text, task.right[e.id], s.notes["object"], s.presence, s.notes["chosen"])
        for e in task.clip.expressions
        for s in [result[e.id]]
    ]


def report(tasks: Sequence[Task], failures: bool) -> None:
    """Prints how often each system is right, against chance; and how well the presence tells what is not there."""
    asked = [(t, sum(right is not None for right in t.right.values())) for t in tasks]
    total = sum(n for _, n in asked)
    print(f"{len(tasks)} clips, {total} sentences; chance {sum(n / len(t.objects) for t, n in asked) / total:.3f}")
    rows: list[Answer] = []
    for name, options in SYSTEMS.items():
        rows = [answer for t in tasks for answer in answers(t, options)]
        print(f"| {name} | {np.mean([a.is_right for a in rows if a.right is not None]):.3f} |", flush=True)
    strange = [a for a in rows if a.right is None]
    for tau in TAUS if strange else ():  # of the last system
        kept = np.mean([a.presence is None or a.presence >= tau for a in rows if a.right is not None])
        emptied = np.mean([a.presence is not None and a.presence < tau for a in strange])
        print(f"min_presence {tau}: {kept:.3f} of what is there kept, {emptied:.3f} of {len(strange)} others emptied")
    for a in rows if failures else ():
        if a.right is not None and not a.is_right:
            print(f"  {a.sentence!r}, right: {a.right}; chosen: {a.note}")


def coverage(file: Path) -> None:
    """Prints the share of words and sentences that are understood, and how the object's name can be read."""
    sentences = list(dict.fromkeys(s for _, _, s in sentences_of(file)))
    words = unread = whole = 0
    nouns: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for sentence in sentences:
        description = parse(sentence)
        missed = [w for part in description.not_understood for w in part.split() if w not in FILLERS]
        words += len([w for w in re.findall(r"[^\W_]+", sentence.lower()) if w not in FILLERS])
        unread += len(missed)
        whole += not missed
        names = [c.value for c in description.of("object")]
        people = names and names[0].split()[-1] in PEOPLE
        nouns["none" if not names else "person" if people else "class" if by_name(names[0]) else "other"] += 1
        kinds.update({c.kind for c in description.cues})
    n = len(sentences)
    wholly = f"{whole / n:.1%} of the sentences wholly"
    print(f"{n} sentences; understood: {1 - unread / words:.1%} of the words that carry meaning, {wholly}")
    print("name of the object:", ", ".join(f"{kind} {count / n:.1%}" for kind, count in nouns.most_common()))
    print("sentences with a cue:", ", ".join(f"{kind} {count / n:.1%}" for kind, count in kinds.most_common()))


def main() -> None:
    """Prints the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, nargs="+", default=[])
    parser.add_argument("--expressions", type=Path)
    parser.add_argument("--draws", type=int, default=3, help="collages for each clip")
    parser.add_argument("--tiles", type=int, default=4, help="clips in a collage")
    parser.add_argument("--shapes", type=int, default=0, metavar="CLIPS")
    parser.add_argument("--coverage", type=Path)
    parser.add_argument("--failures", action="store_true", help="print the sentences that were read wrong")
    options = parser.parse_args()
    if options.real and not options.expressions:
        parser.error("--real needs --expressions")
    if not extra.is_installed():
        print(f"image classes are not installed: {extra.INSTALL}")
    if options.coverage:
        coverage(options.coverage)
    if options.real:
        sentences = sentences_of(options.expressions)
        for kind, alike in (("collages of different kinds", False), ("collages of any kind", True)):
            print(f"\n{kind}: ", end="")
            report(list(real_tasks(options.real, sentences, options.draws, options.tiles, alike)), options.failures)
    if options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            print("\nshapes: ", end="")
            report(list(shapes_tasks(options.shapes, folder)), options.failures)


if __name__ == "__main__":
    main()
