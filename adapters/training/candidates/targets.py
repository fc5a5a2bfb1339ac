"""What the cells of a frame should predict.

Source: Wang et al., "SOLO: Segmenting Objects by Locations", ECCV 2020, Sec. 3.3: an object belongs to the cells near
its centre of mass.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.networks.candidates.network import FINE, STRIDE
from rvos_ensemble.adapters.training.samples.sample import VOID

REGION = 0.2  # of the sides of an object's box, around its centre of mass
NOTHING, IGNORED = -1, -2  # owners of cells of the background and of void


class Targets(NamedTuple):
    """The objects of one or several frames.

    Attributes:
        owner: int64 [B, h, w] at stride 16, the index of the object of each cell, `NOTHING` or `IGNORED`.
        masks: [N, 4 h, 4 w], the share of each pixel that the object covers, 0..1.
        void: bool [B, 4 h, 4 w], pixels without a label.
    """

    owner: Tensor
    masks: Tensor
    void: Tensor


def targets_of(ids: np.ndarray) -> Targets:
    """The targets of one frame.

    Args:
        ids: uint8 [H, W], 0 background, 255 void; H and W are multiples of 32.
    """
    counts = np.bincount(ids.ravel(), minlength=256)
    objects = sorted((k for k in np.flatnonzero(counts).tolist() if 0 < k < VOID), key=lambda k: -counts[k])
    fine = ids.shape[1] // FINE, ids.shape[0] // FINE
    masks = [cv2.resize((ids == k).astype(np.float32), fine, interpolation=cv2.INTER_AREA) for k in objects]
    void = cv2.resize((ids == VOID).astype(np.float32), fine, interpolation=cv2.INTER_AREA) > 0
    return Targets(
        torch.from_numpy(owners(ids, objects))[None],
        torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *fine[::-1]),
        torch.from_numpy(void)[None],
    )


def owners(ids: np.ndarray, objects: list[int]) -> np.ndarray:
    """The object of each cell, int64 [H / 16, W / 16].

    An object owns the cells whose centre lies in the middle of it, at least one. Where two objects meet, the later one
    wins.

    Args:
        ids: uint8 [H, W].
        objects: their ids; the result holds indices into this list.
    """
    y, x = ((np.arange(n // STRIDE) + 0.5) * STRIDE for n in ids.shape)
    owner = np.where(ids[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] == VOID, IGNORED, NOTHING).astype(np.int64)
    for index, k in enumerate(objects):
        mask = ids == k
        near = []
        for centres, line in ((y, mask.sum(1)), (x, mask.sum(0))):
            occupied = np.flatnonzero(line)
            extent = occupied[-1] + 1 - occupied[0]
            distance = np.abs(centres - (line @ np.arange(len(line)) / line.sum() + 0.5))
            near.append(distance <= max(REGION / 2 * extent, distance.min()))
        owner[np.ix_(*near)] = index
    return owner


def joined(frames: list[Targets]) -> Targets:
    """The targets of several frames, with the objects of all of them in one list."""
    owner, first = [], 0
    for frame in frames:
        owner.append(torch.where(frame.owner >= 0, frame.owner + first, frame.owner))
        first += len(frame.masks)
    return Targets(torch.cat(owner), torch.cat([f.masks for f in frames]), torch.cat([f.void for f in frames]))
