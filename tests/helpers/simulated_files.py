"""Files of simulated predictions, each model in another format; `predictions=FOLDER` reads all of them.

    soc               soc/Annotations/CLIP/EXPRESSION/FRAME.png   soc.scores.json
    mutr              mutr.zip of such a tree                     no scores
    referformer       referformer.npz, probabilities              scores inside
    uninext           uninext.json, COCO RLE                      uninext.scores.json
    uninext_convnext  a tree, as soc                              uninext_convnext.scores.json

Each has a file NAME.about.json with the label for tables.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from helpers.simulated import SEGMENTERS, View, segment
from pycocotools import mask as coco

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.masks import quantise
from rvos_ensemble.adapters.datasets.shapes import Shapes
from rvos_ensemble.adapters.datasets.shapes.clips import benchmark_clip
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times

LABEL = "simulated"
SOFT = 1.2  # pixels over which a probability falls from 0.73 to 0.27


class Writer:
    """Writes the predictions of one model, expression by expression."""

    def __init__(self, folder: Path, model: str):
        self.folder, self.model = folder, model
        self.scores: dict[str, dict[str, list[float]]] = {}

    def add(self, clip: str, expression: str, names: list[str], margins: np.ndarray, scores: np.ndarray | None) -> None:
        """Adds float32 margins [T, H, W], positive inside the mask, and P of each frame, if the model has it."""
        self.write(clip, expression, names, margins)
        if scores is not None:
            self.scores.setdefault(clip, {})[expression] = [round(float(p), 4) for p in scores]

    def write(self, clip: str, expression: str, names: list[str], margins: np.ndarray) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Writes the scores and the label."""
        if self.scores:
            self._json(f"{self.model}.scores.json", self.scores)
        self._json(f"{self.model}.about.json", {"label": LABEL})

    def _json(self, name: str, content) -> None:
        (self.folder / name).write_text(json.dumps(content), encoding="utf-8")


class Tree(Writer):
    """PNG files of 0 and 255."""

    def write(self, clip, expression, names, margins):
        folder = self.folder / self.model / "Annotations" / clip / expression
        folder.mkdir(parents=True)
        for name, margin in zip(names, margins, strict=True):
            (folder / f"{name}.png").write_bytes(png.encode(margin > 0))


class Zip(Writer):
    """The same in a zip, as for the challenge server."""

    def __init__(self, folder: Path, model: str):
        super().__init__(folder, model)
        self.zip = zipfile.ZipFile(folder / f"{model}.zip", "w")

    def write(self, clip, expression, names, margins):
        for name, margin in zip(names, margins, strict=True):
            entry = zipfile.ZipInfo(f"Annotations/{clip}/{expression}/{name}.png")  # dated 1980: same bytes every time
            self.zip.writestr(entry, png.encode(margin > 0))

    def close(self):
        self.zip.close()
        super().close()


class Npz(Writer):
    """Probabilities, uint8, in one .npz with the scores: `CLIP/EXPRESSION/masks` and `CLIP/EXPRESSION/scores`."""

    def __init__(self, folder: Path, model: str):
        super().__init__(folder, model)
        self.zip = zipfile.ZipFile(folder / f"{model}.npz", "w", zipfile.ZIP_DEFLATED)

    def add(self, clip, expression, names, margins, scores):
        probability = quantise(1 / (1 + np.exp(-np.clip(margins / SOFT, -30, 30))))
        self._array(f"{clip}/{expression}/masks", probability)
        if scores is not None:
            self._array(f"{clip}/{expression}/scores", scores)

    def _array(self, name: str, array: np.ndarray) -> None:
        with self.zip.open(f"{name}.npy", "w") as file:  # one at a time; np.savez needs all at once
            np.lib.format.write_array(file, array)

    def close(self):
        self.zip.close()
        super().close()


class Rle(Writer):
    """COCO run lengths in one .json: {clip: {expression: [RLE or null per frame]}}."""

    def __init__(self, folder: Path, model: str):
        super().__init__(folder, model)
        self.masks: dict[str, dict[str, list]] = {}

    def write(self, clip, expression, names, margins):
        self.masks.setdefault(clip, {})[expression] = [_rle(margin > 0) for margin in margins]

    def close(self):
        self._json(f"{self.model}.json", self.masks)
        super().close()


def _rle(mask: np.ndarray) -> dict | None:
    if not mask.any():
        return None
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


FORMATS = {"soc": Tree, "mutr": Zip, "referformer": Npz, "uninext": Rle, "uninext_convnext": Tree}


def write_predictions(dataset: Shapes, folder: Path) -> Path:
    """Writes the predictions of all simulated models for the clips of a data set into a new folder."""
    s, seed = dataset.settings, dataset.settings.seed or 0
    folder.mkdir(parents=True)
    writers = {model: FORMATS[model](folder, model) for model in SEGMENTERS}
    for index in range(s.clips):
        numbers = frame_numbers(index, s.frames)
        shot = benchmark_clip(s.split, seed, index, s.level, times(numbers), tuple(s.size))
        view, names = View.of(shot.scene, shot.ids), [f"{number:05d}" for number in numbers]
        for i, (sentence, own) in enumerate(shot.expressions):
            for model, writer in writers.items():
                margins, scores = segment(SEGMENTERS[model], view, own, sentence.by_appearance, (seed, index, i))
                writer.add(shot.scene.name, str(i), names, margins, scores)
    for writer in writers.values():
        writer.close()
    return folder
