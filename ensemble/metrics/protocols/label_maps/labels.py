"""Label maps of several frames, read from files and split into one binary mask per object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.fusion.bits import pack
from rvos_ensemble.ensemble.metrics.jf import Prepared
from rvos_ensemble.ensemble.metrics.protocols.shared.trees import VOID, MaskFiles
from rvos_ensemble.ensemble.metrics.scores import PIXELS_AT_A_TIME

MANY = 32  # up to this number every object number is considered; above it, a histogram shows which numbers occur


@dataclass(frozen=True)
class Labels:
    """N label maps at one bit per pixel, from which the mask of each object can be computed.

    Attributes:
        planes: the bits of the label values, lowest first, packed: uint8 [N, H, ceil(W / 8)] each. A pixel belongs to
            an object where all its bits are those of the object's number.
        size: (H, W).
        ids: numbers of the objects that may be present.
    """

    planes: list[np.ndarray]
    size: tuple[int, int]
    ids: Sequence[int]

    @classmethod
    def of(cls, maps: Iterable[np.ndarray | None], count: int, size: tuple[int, int]) -> Labels:
        """Packs label maps, one at a time, so that only one of them is in memory.

        Args:
            maps: uint8 [H, W] each; 0 is background, and None is a map of background only.
            count: the number of maps.
            size: (H, W).

        >>> labels = Labels.of([np.uint8([[0, 1, 3, 3]])], 1, (1, 4))
        >>> [int(labels.object(i).area[0]) for i in (1, 2, 3)]
        [1, 0, 2]
        """
        planes, ids = [], set()
        for n, m in enumerate(maps):
            top = 0 if m is None else int(m.max())
            for b in range(top.bit_length()):
                if b == len(planes):
                    planes.append(np.zeros((count, size[0], (size[1] + 7) // 8), np.uint8))
                planes[b][n] = pack(m if top == 1 else m & np.uint8(1 << b))
            if top <= MANY:
                ids.update(range(1, top + 1))
            else:
                ids.update(np.flatnonzero(cv2.calcHist([m], [0], None, [256], [0, 256])).tolist())
        return cls(planes, size, sorted(ids - {0}))

    def packed(self, i: int) -> np.ndarray:
        """The masks of object i, one of `ids`, uint8 [N, H, ceil(W / 8)]."""
        own = [plane for b, plane in enumerate(self.planes) if i >> b & 1]
        others = [plane for b, plane in enumerate(self.planes) if not i >> b & 1]
        mask = reduce(np.bitwise_and, own)
        return mask & ~reduce(np.bitwise_or, others) if others else mask

    def object(self, i: int, void: np.ndarray | None = None) -> Prepared:
        """The masks of object i, one of `ids`, without the void pixels (packed)."""
        return Prepared(self.packed(i) if void is None else self.packed(i) & ~void, self.size)


def chunks(
    masks: MaskFiles, problems: list[str]
) -> Iterator[tuple[range, tuple[int, int], Iterator[np.ndarray | None]]]:
    """All frames, a few at a time so that they fit in the processor's cache.

    Args:
        masks: label maps.
        problems: what is wrong with the files is added to this list.

    Yields:
        (frame numbers, (H, W), label maps); the size is that of the first readable frame.
    """
    start, size = 0, None
    while start < len(masks):
        if size is None:
            try:
                size = masks.read(start).shape
            except InputError as error:
                problems += error.problems
                start += 1
                continue
        step = max(1, PIXELS_AT_A_TIME // (size[0] * size[1]))
        frames = range(start, min(start + step, len(masks)))
        yield frames, size, read(masks, frames, size, problems)
        start = frames.stop


def read(
    masks: MaskFiles, frames: range, size: tuple[int, int], problems: list[str], void: str = "object"
) -> Iterator[np.ndarray | None]:
    """Some label maps, uint8 [H, W] each; None where a file is missing or wrong.

    Args:
        masks: label maps.
        frames: numbers of the frames to read.
        size: (H, W) that every frame must have.
        problems: what is wrong with the files is added to this list.
        void: "object" if 255 may be the number of an object; in predictions it is never void.
    """
    for t in frames:
        values = None
        try:
            values = None if masks.names[t] is None else masks.read(t, size)
            if void != "object" and values is not None and values.max() == VOID:
                raise InputError(_not_a_label_map(masks.where(t), values))
        except InputError as error:
            problems += error.problems
        yield values


def _not_a_label_map(where: str, values: np.ndarray) -> str:
    """Why a prediction with the value 255 is no label map."""
    if ((values > 0) & (values < VOID)).any():
        return f"{where}: holds 255, which is void in a ground truth; expected the numbers of objects, 0 for none"
    return (
        f"{where}: a 0/255 mask, expected a label map: 0 for background, 1 for object 1, ...; if all of gt and pred "
        "are masks of 0/255 of one object each, say `void=object`"
    )
