"""How often the small segmenters select the right object, by kind of expression.

    python -m benchmarks.sentences [--seeds 0 1 2] [--clips 8] [--split test] [--weights soc=FILE ...]

Uses clips of `shapes`. The selected object is the one with which the predicted mask has the highest IoU over the clip;
chance is 1 / number of objects. The J&F of correct selections measures the quality of the masks.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np

from rvos_ensemble import adapters
from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import find
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, PATTERNS, SHAPES
from rvos_ensemble.ensemble.metrics.jf import j_and_f

MODELS = ("soc", "mutr", "referformer", "uninext")
KINDS = ("colour", "pattern", "shape", "place or size", "time")


def kind_of(sentence: str) -> str:
    """What a sentence requires: time; else a place or size; else the easiest of the attributes that it names.

    >>> kind_of("the striped star"), kind_of("the red star on the left"), kind_of("the star that moves up")
    ('pattern', 'place or size', 'time')
    """
    words = set(sentence.split())
    if "that" in words or "fastest" in words:
        return "time"
    if words & {"left", "right", "top", "bottom", "largest", "smallest"}:
        return "place or size"
    return next(kind for kind, known in zip(KINDS, (COLOURS, PATTERNS, SHAPES), strict=False) if words & set(known))


def whole(sequence: MaskSequence) -> np.ndarray:
    """All masks of a sequence, bool [T, H, W]."""
    return np.stack([sequence.mask(t) for t in range(len(sequence))])


def answers(adapter: Adapter, clip: Clip) -> list[tuple[str, bool, float, float]]:
    """(kind, whether the right object is selected, J&F, chance) of every expression."""
    masks = {name: whole(sequence) for name, sequence in adapter.predict(clip).items()}
    truth = {e.id: whole(clip.truth.read(e.id)) for e in clip.expressions}
    objects = {
        own.tobytes(): own for own in truth.values()
    }  # each object once, even if several expressions refer to it
    rows = []
    for expression in clip.expressions:
        mask, own = masks[expression.id], truth[expression.id]
        overlap = {key: (mask & other).sum() / max(1, (mask | other).sum()) for key, other in objects.items()}
        right = max(overlap, key=overlap.get) == own.tobytes() and max(overlap.values()) > 0
        rows.append((kind_of(expression.text), right, float(np.mean(j_and_f(mask, own))), 1 / len(objects)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=8, help="per seed")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="MODEL=FILE", help="weights to use in place of the shipped ones"
    )
    options = parser.parse_args()
    files = {model: f"{model}_nano" for model in options.models} | dict(w.split("=", 1) for w in options.weights)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"split": options.split, "seed": options.seeds, "clips": options.clips}
        clips = Shapes(root=f"{folder}/shapes", **settings).clips()
        print("| |", " | ".join(KINDS), "| all | J&F | J&F where right |\n" + "|---" * (len(KINDS) + 4) + "|")
        for model in options.models:
            adapter = find(model, Adapter, adapters, "rvos_ensemble.adapters")(weights=files[model])
            rows = [row for clip in clips for row in answers(adapter, clip)]
            shares = [[right for kind, right, *_ in rows if kind == wanted] for wanted in KINDS]
            right, jf = (np.array([row[i] for row in rows], float) for i in (1, 2))
            cells = [f"{100 * np.mean(share):.0f} % of {len(share)}" if share else "" for share in shares]
            cells += [f"{100 * right.mean():.0f} %", f"{100 * jf.mean():.1f}", f"{100 * jf[right > 0].mean():.1f}"]
            print(f"| {model} |", " | ".join(cells), "|", flush=True)
    print(f"\nchance: {100 * np.mean([row[3] for row in rows]):.0f} %")


if __name__ == "__main__":
    main()
