"""What the report shows of a clip: small frames, and small masks of every source and step, in one compact file.

A mask is kept as run lengths, from which the page paints overlays and counts votes; pictures of every overlay would
take ten times the space. The file is a line of JavaScript around a line of JSON: a page opened from disk may load
scripts that lie beside it, and nothing else.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from zlib_ng import zlib_ng

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction

SIDE = 240  # pixels of the longer side: a whole frame is one run, and a run is 16 bits
FRAMES = 400  # of a clip at most; of longer ones every second, third, ...
QUALITY = 60  # of WebP: 4 KB a frame
FOLDER = "report"


def file_name(clip: str) -> str:
    """Where a clip's pictures lie, under the folder of results."""
    return f"{FOLDER}/{clip}.js"


def pack(clip: Clip, results: Mapping[str, Prediction]) -> bytes:
    """The file of a clip.

    Its JSON holds `size` [h, w] of a small frame, `times` and `names` of the frames shown, `columns` and `frames` (a
    sheet of them as WebP, row by row), `rows` {expression: {source or step: number of its mask sequence}}, `truth`
    {expression: number}, and `runs`: deflated uint16, first the number of runs of every frame of every mask sequence,
    then the runs, each frame's beginning with background.

    Args:
        clip: whose frames and ground truth.
        results: {source or step: prediction}; masks that several share are kept once.
    """
    times = range(0, len(clip), math.ceil(len(clip) / FRAMES))
    scale = min(1.0, SIDE / max(clip.size))
    size = tuple(max(1, round(n * scale)) for n in clip.size)
    known: dict[int, int] = {}
    kept: list[MaskSequence] = []  # held, so that no id is given twice
    runs: list[list[np.ndarray]] = []

    def number(sequence: MaskSequence) -> int:
        if id(sequence.masks) not in known:
            known[id(sequence.masks)] = len(runs)
            kept.append(sequence)
            runs.append([runs_of(shrink(sequence.prob_at(t), size) > 127) for t in times])
        return known[id(sequence.masks)]

    truths = {e.id: clip.truth.read(e.id) for e in clip.expressions} if clip.truth else {}
    columns = math.ceil(math.sqrt(len(times)))
    body = {
        "size": size,
        "times": list(times),
        "names": [clip.frames[t] for t in times],
        "columns": columns,
        "frames": _text(_sheet([shrink(clip.read(t), size) for t in times], columns)),
        "rows": {e.id: {name: number(p[e.id]) for name, p in results.items()} for e in clip.expressions},
        "truth": {e: number(s) for e, s in truths.items() if s is not None},
    }
    flat = [r for sequence in runs for r in sequence]
    numbers = np.concatenate([[len(r) for r in flat], *flat]).astype("<u2")
    body["runs"] = _text(zlib_ng.compress(numbers.tobytes(), 6))
    return f"receive({script_json(clip.name)},\n{script_json(body)}\n)\n".encode()


def body_of(data: bytes) -> str:
    """The JSON in a clip's file."""
    return data.decode().split("\n")[1]


def script_json(value: Any) -> str:
    r"""Compact JSON that may stand inside a script of a page: no text in it can end the script.

    >>> script_json({"text": "</script>"})
    '{"text":"\\u003c/script>"}'
    """
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def runs_of(mask: np.ndarray) -> np.ndarray:
    """Lengths of runs of equal pixels, row by row, background first, int64 [R].

    >>> runs_of(np.array([[False, True], [True, False]])).tolist(), runs_of(np.ones((1, 2), bool)).tolist()
    ([1, 2, 1], [0, 2])
    """
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0, 0] if flat[0] else [0], ends])
    return np.diff(starts, append=flat.size)


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at (h, w), each pixel the mean of those it stands for."""
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)


def _sheet(tiles: list[np.ndarray], columns: int) -> bytes:
    """RGB pictures of one size, row by row, as one WebP: at most 20 x 20 of SIDE pixels, of which WebP takes thrice."""
    blank = np.zeros_like(tiles[0])
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    sheet = np.vstack([np.hstack([*row, *[blank] * (columns - len(row))]) for row in rows])
    done, data = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not done:
        raise InputError(
            f"report: OpenCV {cv2.__version__} cannot write WebP of {sheet.shape[0]}x{sheet.shape[1]} (HxW); give "
            "report=false"
        )
    return data.tobytes()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
