"""A tiny benchmark in the official layout, written in milliseconds, with the masks of three models."""

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.io.png import encode

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
    for name, content in tiny_files(tuple(clips)).items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE.format(root=root))
    return Tiny(root, recipe, folder / "out", tuple(clips))


@cache
def tiny_files(clips: tuple[str, ...]) -> dict[str, bytes]:
    """{path below the root: content}, encoded once per process.

    The masks of SOC have filtered rows, as Pillow writes them; those of the others have none and are decoded faster.
    """
    made = {}
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
            made[f"valid/JPEGImages/{clip}/{frame}.jpg"] = encoded(picture, "JPEG", quality=95)
            palette = Image.fromarray(truth, "P")
            palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
            made[f"valid/Annotations/{clip}/{frame}.png"] = encoded(palette, "PNG")
            for model in MODELS:
                for i in range(3):
                    mask = (truth == i // 2 + 1) ^ (random.random((H, W)) < 0.03)
                    content = encoded((mask * 255).astype(np.uint8), "PNG") if model == "soc" else encode(mask)
                    made[f"predictions/{model}/Annotations/{clip}/{i}/{frame}.png"] = content
    made["meta_expressions/valid/meta_expressions.json"] = json.dumps({"videos": videos}).encode()
    made["meta_expressions/valid/obj_ids.json"] = json.dumps(objects).encode()
    for model in MODELS:
        made[f"predictions/{model}.scores.json"] = json.dumps(scores).encode()
    return made


def encoded(picture, kind: str, **options) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def save(picture, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
