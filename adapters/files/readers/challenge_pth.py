"""The exchange files of the 2023 winner: {video: {expression: {"mask_logits": float [T, H, W], "class_info": [T]}}}.

One .pth, or a folder of chunks that split the videos. Despite the name, some of those files (UNINEXT's) hold
probabilities, so the setting `kind` is required, and the values are checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_hash, file_stamp
from rvos_ensemble.adapters.core.masks import LazyMasks, MaskSequence
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.readers.reader import Outline, Reader, outlines_of
from rvos_ensemble.adapters.files.scores import as_scores
from rvos_ensemble.adapters.files.torch_file import dense, is_packed, reason, verify_checksums
from rvos_ensemble.adapters.files.values import check_range, mask_kind, to_mask

MASKS, SCORES = "mask_logits", "class_info"
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
MOST_SCORES = 1 << 20  # frames; a tensor can state any length


@dataclass(frozen=True)
class ChallengePth(Reader):
    """Reads the 2023 winner's .pth."""

    paths: tuple[str, ...]
    kind: str | None

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip in the file, None if it does not have the video."""
        path = self._path(clip)
        if path is None:
            return None
        video, where = _load(file_stamp(path))[clip.name], f"{path}: video {clip.name!r}"
        if not isinstance(video, dict):
            raise InputError(f"{where}: a {type(video).__name__}, expected {{expression: ...}}")
        if wrong := [name for name in video if type(name) is not str]:
            raise InputError(f"{where}: the name of an expression is {shown(wrong[0])}, expected a text such as '0'")
        return list(video)

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily."""
        path = self._path(clip)
        where = f"{path}: video {clip.name!r}, expression {expression.id!r}"
        entry = _load(file_stamp(path))[clip.name][expression.id]
        masks = dense(entry.get(MASKS)) if isinstance(entry, dict) else None
        if masks is None:
            raise InputError(
                f"{where}: expected {{'{MASKS}': tensor [T, H, W], '{SCORES}': [T]}}, found {_shown(entry)}"
            )
        wanted = (len(clip), *clip.size)
        if tuple(masks.shape) != wanted:
            shape = shown(list(masks.shape))
            raise InputError(f"{where}: shape {shape}, expected {list(wanted)} ([T, H, W] of the clip)")
        kind = mask_kind(_dtype(masks, where), self.kind, where)
        scores = as_scores(_listed(entry[SCORES]), len(clip), where) if SCORES in entry else None
        read = _PthReader(path, clip.name, expression.id, self.kind)
        dtype = np.dtype(bool if kind == "binary" else np.uint8)
        return MaskSequence(LazyMasks(wanted, dtype, read), kind, scores=scores)

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the first masks of a video."""
        shapes = (shape for (v, _), shape in self._shapes().items() if v == video)
        return next((shape[1:] for shape in shapes), None)

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions}."""
        return outlines_of(self._shapes())

    def _shapes(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """{(video, expression): [T, H, W]} of all masks that are as they should be; `check` reports the others."""
        videos = [item for path in self.paths for item in _load(file_stamp(path)).items() if isinstance(item[1], dict)]
        found = {(v, e): dense(x.get(MASKS)) for v, of in videos for e, x in of.items() if isinstance(x, dict)}
        return {k: tuple(m.shape) for k, m in found.items() if m is not None and len(m.shape) == 3}

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the file."""
        path = self._path(clip)
        return file_hash(file_stamp(path)) if path else ""

    def contents(self) -> str:
        """The videos in the file, in words."""
        return f"it has {first_few(video for path in self.paths for video in _load(file_stamp(path)))}"

    def _path(self, clip: Clip) -> str | None:
        paths = [path for path in self.paths if clip.name in _load(file_stamp(path))]
        if len(paths) > 1:
            raise InputError(f"video {clip.name!r} is in more than one file: {', '.join(paths)}")
        return paths[0] if paths else None


class _PthReader:
    """Reads frame t from the mapped file; the first call also checks the value range of the whole sequence."""

    def __init__(self, path: str, video: str, expression: str, kind: str | None):
        self.key = (path, video, expression, kind)
        self.checked = False

    def __call__(self, t: int) -> np.ndarray:
        path, video, expression, kind = self.key
        where = f"{path}: video {video!r}, expression {expression!r}"
        masks = dense(_load(file_stamp(path))[video][expression][MASKS])
        if not self.checked:
            low, high = masks.aminmax()
            check_range(float(low), float(high), _dtype(masks, where), kind, where)
            self.checked = True
        frame = masks[t].float().numpy() if masks.is_floating_point() else masks[t].numpy()
        return to_mask(frame, kind, f"{where}, frame {t}")

    def __reduce__(self):
        return _PthReader, self.key


@lru_cache(maxsize=64)
def _load(stamp: Stamp) -> dict[str, Any]:
    """The contents; tensors are memory-mapped, not read."""
    import torch  # here, because files of other formats do not need it

    path = stamp[0]
    if is_packed(path):
        verify_checksums(stamp)
    try:
        data = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:  # a damaged file can make torch raise anything
        raise InputError(
            f"{path}: cannot be read: {reason(error)} (expected a file of torch.save that holds only dicts, lists, "
            "numbers and tensors, in its format since torch 1.6)"
        ) from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: a {type(data).__name__}, expected {{video: {{expression: ...}}}}")
    return data


def _listed(scores: Any) -> Any:
    """Scores as a list of numbers, if they are a tensor or a list of tensors; anything else is returned unchanged."""
    if isinstance(scores, (list, tuple)):
        tensors = [dense(score) for score in scores]
        return [v if x is None or x.dim() else x.item() for v, x in zip(scores, tensors, strict=True)]
    tensor = dense(scores)
    return tensor.tolist() if tensor is not None and tensor.dim() == 1 and len(tensor) < MOST_SCORES else scores


def _dtype(tensor, where: str) -> np.dtype:
    """The numpy dtype of a tensor; float32 for every float, bfloat16 included, since all are read as float32.

    Raises:
        InputError: a dtype that masks cannot have.
    """
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise InputError(f"{where}: masks of dtype {name}, expected bool, uint8 or a float")
    return np.dtype(np.float32) if tensor.is_floating_point() else np.dtype(name)


def _shown(entry: Any) -> str:
    if not isinstance(entry, dict):
        return f"a {type(entry).__name__}"
    masks = entry.get(MASKS)
    return f"a dict of {first_few(entry)}" + ("" if masks is None else f", whose {MASKS} is {_kind_of(masks)}")


def _kind_of(masks: Any) -> str:
    layout = getattr(masks, "layout", None)
    return f"a {type(masks).__name__}" if layout is None else f"a {type(masks).__name__} of {layout}, {masks.dtype}"
