"""Pictures of an expression in two runs, from the reduced frames and masks that runs store for their reports."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.ensemble.commands.comparison.runs import FinishedRun, Key
from rvos_ensemble.ensemble.metrics.frame_scores import read_scores
from rvos_ensemble.ensemble.report.page.clip_data import body_of

RIGHT, MISSING, EXTRA = (225, 20, 140), (42, 125, 225), (240, 140, 0)  # RGB, as on the report
QUALITY = 80  # of WebP


@dataclass(frozen=True)
class Tile:
    """One picture: its title, and the bytes of a WebP image as a data URL."""

    title: str
    url: str


class StoredClip:
    """The reduced frames and masks of a clip, as `report/clip_data.py` packs them.

    Raises:
        ValueError, KeyError, OSError, zlib.error: the file is missing or damaged.
    """

    def __init__(self, file: Path):
        self.body = json.loads(body_of(file.read_bytes()))
        self.size, self.times = tuple(self.body["size"]), self.body["times"]
        numbers = np.frombuffer(zlib.decompress(base64.b64decode(self.body["runs"])), "<u2")
        rows = [*self.body["rows"].values()]
        last = max([*(i for row in rows for i in row.values()), *self.body["truth"].values()])
        count = (last + 1) * len(self.times)
        self._ends = np.cumsum(numbers[:count], dtype=np.int64)
        self._runs = numbers[count:]
        sheet = cv2.imdecode(np.frombuffer(base64.b64decode(self.body["frames"]), np.uint8), cv2.IMREAD_COLOR)
        if sheet is None:
            raise ValueError("the frames cannot be decoded")
        self._sheet = sheet[..., ::-1]

    def frame(self, i: int) -> np.ndarray:
        """A reduced frame, uint8 [h, w, 3] RGB."""
        h, w = self.size
        y, x = divmod(i, self.body["columns"])
        return self._sheet[y * h : (y + 1) * h, x * w : (x + 1) * w]

    def mask(self, index: int, i: int) -> np.ndarray:
        """A mask of a mask sequence, bool [h, w]."""
        at = index * len(self.times) + i
        runs = self._runs[(self._ends[at - 1] if at else 0) : self._ends[at]]
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(self.size)

    def prediction(self, expression: str, step: str, i: int) -> np.ndarray:
        """The mask of a source or step."""
        return self.mask(self.body["rows"][expression][step], i)

    def truth(self, expression: str, i: int) -> np.ndarray:
        """The ground truth."""
        return self.mask(self.body["truth"][expression], i)


def tiles(first: FinishedRun, run: FinishedRun, key: Key, gains: bool) -> tuple[str, list[Tile]] | None:
    """The frame in which the outputs differ most, with the ground truth and the masks of both runs.

    Args:
        first, run: the runs.
        key: clip and expression.
        gains: whether `run` is better: then it is the frame of the largest gain, else of the largest loss.

    Returns:
        What is shown, in words, and the pictures; None if a run has not stored its masks (report=false).
    """
    clip, expression = key
    try:
        one, other = (StoredClip(r.place(clip, "report.js")) for r in (first, run))
        i = _frame_of(first, run, key, one, gains)
        truth, frame = one.truth(expression, i), one.frame(i)
        masks = one.prediction(expression, first.output, i), other.prediction(expression, run.output, i)
        name = one.body["names"][i]
    except (OSError, ValueError, KeyError, IndexError, TypeError, zlib.error):
        return None
    pictures = [truth, *masks]
    titles = ("ground truth", "first", "second")
    return f"frame {name}", [
        Tile(title, _url(_overlay(frame, mask, truth))) for title, mask in zip(titles, pictures, strict=True)
    ]


def _frame_of(first: FinishedRun, run: FinishedRun, key: Key, stored: StoredClip, gains: bool) -> int:
    """The stored frame with the largest gain, or loss, in J&F."""
    clip, expression = key
    before, after = (read_scores(r.place(clip, "scores.npz"))[r.output][expression] for r in (first, run))
    delta = (after.J + after.F - before.J - before.F)[stored.times]
    return int(np.argmax(delta if gains else -delta))


def _overlay(frame: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The frame with the mask: correct, missing and extra pixels in different colours."""
    shown = frame.astype(np.float32)
    for area, colour in ((mask & truth, RIGHT), (truth & ~mask, MISSING), (mask & ~truth, EXTRA)):
        shown[area] = 0.45 * shown[area] + 0.55 * np.array(colour, np.float32)
    return shown.astype(np.uint8)


def _url(picture: np.ndarray) -> str:
    """A picture, uint8 [h, w, 3] RGB, as a data URL."""
    done, data = cv2.imencode(".webp", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not done:
        raise ValueError("the picture cannot be encoded")
    return f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}"
