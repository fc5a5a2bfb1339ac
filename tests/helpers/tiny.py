"""A tiny benchmark in the official layout, made in a second, with three models' masks: for tests of the whole."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

H, W, T = 48, 70, 5
FRAMES = [f"{5 * t:05d}" for t in range(T)]
MODELS = ("soc", "mutr", "referformer")

RECIPE = """# A vote of three models, propagated.
data: {{dataset: ref_youtube_vos, root: {root}, split: valid}}
sources:
  soc: {{adapter: files, path: {root}/predictions/soc}}
  mutr: {{adapter: files, path: {root}/predictions/mutr}}
  referformer: {{adapter: files, path: {root}/predictions/referformer}}
propagators: {{flow: {{}}}}
steps:
  smr: {{op: vote, inputs: [soc, mutr, referformer], across: expressions, threshold: 0.5}}
  smr_flow: {{op: propagate, input: smr, with: flow, key_frame: argmax, scores_from: soc}}
output: smr_flow
engine: {{workers: 1}}
"""


@dataclass(frozen=True)
class Tiny:
    """Where things are.

    Attributes:
        root: of the data set.
        recipe: a recipe file for it.
        out: folder for results, not there yet.
        clips: names.
    """

    root: Path
    recipe: Path
    out: Path
    clips: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        return [f"recipe={self.recipe}", f"out={self.out}"]

    def mask_file(self, model="soc", clip="a", expression="0", frame=FRAMES[0]) -> Path:
        return self.root / "predictions" / model / "Annotations" / clip / expression / f"{frame}.png"

    def frame_file(self, clip="a", frame=FRAMES[0]) -> Path:
        return self.root / "valid" / "JPEGImages" / clip / f"{frame}.jpg"


def make_tiny(folder: Path, clips=("a", "b", "c")) -> Tiny:
    """Two blocks a clip, two expressions for the first, one for the second; models are the truth with noise."""
    root = folder / "data"
    random = np.random.default_rng(0)
    texture = random.integers(0, 256, (H, W, 3), np.uint8)
    videos, objects, scores = {}, {}, {}
    for number, clip in enumerate(clips):
        videos[clip] = {"expressions": {str(i): {"exp": f"block {i // 2}"} for i in range(3)}, "frames": FRAMES}
        objects[clip] = {str(i): str(i // 2 + 1) for i in range(3)}
        scores[clip] = {str(i): random.random(T).round(3).tolist() for i in range(3)}
        for t, frame in enumerate(FRAMES):
            truth = np.zeros((H, W), np.uint8)
            truth[8 + number : 24, 5 + 3 * t : 25 + 3 * t] = 1
            truth[28:44, 40 - 2 * t : 60 - 2 * t] = 2
            picture = texture // 2 + (truth[..., None] * 60).astype(np.uint8)
            save(picture, root / "valid" / "JPEGImages" / clip / f"{frame}.jpg", quality=95)
            palette = Image.fromarray(truth, "P")
            palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
            save(palette, root / "valid" / "Annotations" / clip / f"{frame}.png")
            for model in MODELS:
                for i in range(3):
                    mask = (truth == i // 2 + 1) ^ (random.random((H, W)) < 0.03)
                    file = root / "predictions" / model / "Annotations" / clip / str(i) / f"{frame}.png"
                    save((mask * 255).astype(np.uint8), file)
    meta = root / "meta_expressions" / "valid"
    meta.mkdir(parents=True)
    (meta / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (meta / "obj_ids.json").write_text(json.dumps(objects))
    for model in MODELS:
        (root / "predictions" / f"{model}.scores.json").write_text(json.dumps(scores))
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(root=root))
    return Tiny(root, recipe, folder / "out", tuple(clips))


def save(picture, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
