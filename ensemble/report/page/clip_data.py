"""The data of a clip for the report: reduced frames, and reduced masks of every source and step, in one compact file.

Masks are stored as run lengths, from which the page draws overlays and counts votes. Images of all overlays would need
ten times the space. The file is JavaScript around one line of JSON, because a page opened from disk may load scripts
from its folder but no other files.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from zlib_ng import zlib_ng

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.report.page.reduced_masks import reduced_mask, shrink

SIDE = 240  # pixels of the longer side; a run may cover a whole frame and must fit into 16 bits
FRAMES = 400  # maximum per clip; of longer clips every second, third, ... frame is used
QUALITY = 60  # of WebP; about 4 KB per frame
FOLDER = "report"


def file_name(clip: str) -> str:
    """Path of the file of a clip, relative to the folder of results."""
    return f"{FOLDER}/{clip}.js"


def pack(clip: Clip, results: Mapping[str, Prediction]) -> bytes:
    """The file of a clip.

    Its JSON contains `size` [h, w] of a reduced frame, `times` and `names` of the selected frames, `columns` and
    `frames` (all reduced frames in one WebP image, row by row), `rows` {expression: {source or step: index of its mask
    sequence}}, `truth` {expression: index of its mask sequence}, `empty` {expression: sources and steps whose masks are
    empty in all frames}, `signals` {expression: {source or step: {signal: its values}}}, and `runs`: deflated uint16,
    first the number of runs of each frame of each mask sequence, then the runs of all frames, each starting with
    background.

    Args:
        clip: the clip, with its ground truth if it has one.
        results: {source or step: prediction}; masks shared by several of them are stored once.

    Returns:
        The bytes of the file.

    Raises:
        InputError: OpenCV cannot encode WebP.
    """
    times = range(0, len(clip), math.ceil(len(clip) / FRAMES))
    scale = min(1.0, SIDE / max(clip.size))
    size = tuple(max(1, round(n * scale)) for n in clip.size)
    indices: dict[int, int] = {}  # {id of masks: index of their mask sequence}
    kept: list[MaskSequence] = []  # keeps the masks alive, so that no id is reused
    runs: list[list[np.ndarray]] = []

    def is_empty(sequence: MaskSequence) -> bool:
        """Whether the full masks are empty; they are read again only if the reduced ones are."""
        return all(len(r) == 1 for r in runs[index(sequence)]) and sequence.is_empty()

    def index(sequence: MaskSequence) -> int:
        if id(sequence.masks) not in indices:
            indices[id(sequence.masks)] = len(runs)
            kept.append(sequence)
            runs.append([runs_of(reduced_mask(sequence, t, size)) for t in times])
        return indices[id(sequence.masks)]

    truths = {e.id: clip.truth.read(e.id) for e in clip.expressions} if clip.truth else {}
    columns = math.ceil(math.sqrt(len(times)))
    body = {
        "size": size,
        "times": list(times),
        "names": [clip.frames[t] for t in times],
        "columns": columns,
        "frames": _frames(clip, times, size, columns),
        "rows": {e.id: {name: index(p[e.id]) for name, p in results.items()} for e in clip.expressions},
        "truth": {e: index(s) for e, s in truths.items() if s is not None},
        "empty": {e.id: [name for name, p in results.items() if is_empty(p[e.id])] for e in clip.expressions},
        "signals": {e.id: _signals({name: p[e.id] for name, p in results.items()}, times) for e in clip.expressions},
    }
    flat = [r for sequence in runs for r in sequence]
    numbers = np.concatenate([[len(r) for r in flat], *flat]).astype("<u2")
    body["runs"] = _text(zlib_ng.compress(numbers.tobytes(), 6))
    return f"receive({script_json(clip.name)},\n{script_json(body)}\n)\n".encode()


def body_of(data: bytes) -> str:
    """The JSON in the file of a clip, from the bytes of the file."""
    return data.decode().split("\n")[1]


def script_json(value: Any) -> str:
    r"""Compact JSON that is safe inside a script element: no text in it can end the element.

    >>> script_json({"text": "</script>"})
    '{"text":"\\u003c/script>"}'
    """
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def runs_of(mask: np.ndarray) -> np.ndarray:
    """Lengths of runs of equal pixels of a bool mask [H, W], row by row, background first, int64 [R].

    >>> runs_of(np.array([[False, True], [True, False]])).tolist(), runs_of(np.ones((1, 2), bool)).tolist()
    ([1, 2, 1], [0, 2])
    """
    flat = mask.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    borders = np.concatenate([[0, 0] if flat[0] else [0], ends, [flat.size]])
    return borders[1:] - borders[:-1]


def _frames(clip: Clip, times: Sequence[int], size: tuple[int, int], columns: int) -> str:
    """The sheet of reduced frames as text; black where the data set has no pictures."""
    if isinstance(clip.images, NoPictures):
        return _black_frames(len(times), size, columns)
    return _text(_sheet([shrink(clip.read(t), size) for t in times], columns))


@lru_cache
def _black_frames(count: int, size: tuple[int, int], columns: int) -> str:
    """The sheet of so many black frames: WebP takes as long for them as for any others."""
    return _text(_sheet([np.zeros((*size, 3), np.uint8)] * count, columns))


def _signals(sequences: Mapping[str, MaskSequence], times: Iterable[int]) -> dict[str, dict[str, list[float | None]]]:
    """{source or step: {signal: its values in the selected frames, None where it is not stated}}, of those with any.

    The signals are what propagators state about each mask, and `score`, the score P of a model.
    """
    result = {}
    for name, sequence in sequences.items():
        stated = {**({} if sequence.scores is None else {"score": sequence.scores}), **sequence.signals}
        if stated:
            result[name] = {k: [_number(values[t]) for t in times] for k, values in stated.items()}
    return result


def _number(value: float) -> float | None:
    """A number for JSON, which has no NaN and no infinity."""
    return round(float(value), 3) if math.isfinite(value) else None


def _sheet(tiles: list[np.ndarray], columns: int) -> bytes:
    """RGB images of one size, row by row, in one WebP image: at most 20 x 20 of SIDE pixels, a third of its limit."""
    blank = np.zeros_like(tiles[0])
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    sheet = np.vstack([np.hstack([*row, *[blank] * (columns - len(row))]) for row in rows])
    encoded, data = cv2.imencode(".webp", sheet[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not encoded:
        raise InputError(
            f"report: OpenCV {cv2.__version__} cannot encode WebP of {sheet.shape[0]}x{sheet.shape[1]} (HxW); set "
            "report=false"
        )
    return data.tobytes()


def _text(data: bytes) -> str:
    """Base64 text of the bytes."""
    return base64.b64encode(data).decode()
