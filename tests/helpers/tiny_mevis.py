"""A tiny benchmark in the layout of MeViSv2, made in a second, with the masks of three sources."""

import json
from pathlib import Path

import numpy as np
from helpers.tiny import FRAMES, MODELS, H, T, Tiny, W, save

from rvos_ensemble.adapters.files.readers.coco_rle import encode

EXPRESSIONS = {"0": (1,), "1": (2,), "2": (1, 2), "3": ()}  # of every clip: numbers of the objects that it refers to
EMPTY = {"mutr": {"3"}, "referformer": {"1", "3"}, "soc": set()}  # what each source answers with empty masks

RECIPE = """# A vote of three sources, and their union.
data: {{dataset: mevis, root: {root}, split: {split}}}
sources:
  soc: {{adapter: files, path: {root}/predictions/soc}}
  mutr: {{adapter: files, path: {root}/predictions/mutr}}
  referformer: {{adapter: files, path: {root}/predictions/referformer}}
steps:
  smr: {{op: vote, inputs: [soc, mutr, referformer], threshold: 2}}
  all: {{op: union, inputs: [soc, mutr]}}
output: smr
engine: {{workers: 1}}
"""


def objects(number: int) -> np.ndarray:
    """The labels of clip number n, uint8 [T, H, W]: two blocks that move."""
    labels = np.zeros((T, H, W), np.uint8)
    for t in range(T):
        labels[t, 8 + number : 24, 5 + 3 * t : 25 + 3 * t] = 1
        labels[t, 28:44, 40 - 2 * t : 60 - 2 * t] = 2
    return labels


def make_tiny_mevis(folder: Path, clips=("a", "b", "c"), split="valid_u", name="meta_expressions_v2.json") -> Tiny:
    """Every clip has an expression for each object, one for both and one for none."""
    root, random = folder / "data", np.random.default_rng(0)
    texture = random.integers(0, 256, (H, W, 3), np.uint8)
    videos, runs = {}, {}
    for number, clip in enumerate(clips):
        labels = objects(number)
        for t, frame in enumerate(FRAMES):
            picture = texture // 2 + (labels[t, ..., None] * 60).astype(np.uint8)
            save(picture, root / split / "JPEGImages" / clip / f"{frame}.jpg", quality=95)
        runs |= {str(10 * number + i): encode(labels == i) for i in (1, 2)}
        entries = {
            e: {
                "exp": f"block {e}",
                "obj_id": [i - 1 for i in of],
                "anno_id": [10 * number + i for i in of],
                "audio": 7,
            }
            for e, of in EXPRESSIONS.items()
        }
        videos[clip] = {"expressions": entries, "frames": FRAMES}
        for model in MODELS:
            for e, of in EXPRESSIONS.items():
                wanted = np.isin(labels, of or (1,))
                for t, frame in enumerate(FRAMES):
                    mask = (wanted[t] ^ (random.random((H, W)) < 0.03)) & (e not in EMPTY[model])
                    save((mask * 255).astype(np.uint8), root / "predictions" / model / clip / e / f"{frame}.png")
    (root / split / name).write_text(json.dumps({"videos": videos}))
    if split in ("train", "valid_u"):
        (root / split / "mask_dict.json").write_text(json.dumps(runs))
    recipe = folder / "tiny_mevis.yaml"
    recipe.write_text(RECIPE.format(root=root, split=split))
    return Tiny(root, recipe, folder / "out", tuple(clips))
