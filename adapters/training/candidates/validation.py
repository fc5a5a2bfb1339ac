"""How many objects the candidates of a frame include, and how well."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork
from rvos_ensemble.adapters.networks.candidates.selection import select
from rvos_ensemble.adapters.training.candidates.cutouts import cutouts, paste
from rvos_ensemble.adapters.training.samples.annotated_videos import read_annotated
from rvos_ensemble.adapters.training.samples.sample import VOID, Sample

COUNTS = 3, 5, 10  # numbers of candidates


def middle_frames(root: str | Path) -> list[Sample]:
    """The middle frame of every annotated video of a folder.

    Raises:
        InputError: as `FolderClips`.
    """
    frames = []
    for video in read_annotated(Path(os.path.realpath(user_path(root)))):
        t = len(video.masks) // 2
        frames.append(Sample(video.images.read(t)[None], video.labels(t)[None]))
    return frames


def collages(frames: Sequence[Sample], count: int) -> list[Sample]:
    """Frames with one to three objects of other frames pasted over them, the same ones at every call."""
    made = []
    for i in range(count if len(frames) > 1 else 0):
        rng = np.random.default_rng(i)
        order = rng.permutation(len(frames))
        others = [c for j in order[1 : 2 + rng.integers(min(3, len(frames) - 1))] for c in cutouts(frames[j])[:1]]
        made.append(paste(frames[order[0]], others, [True] * len(others), rng))
    return made


def overlaps(network: CandidateNetwork, frame: Sample) -> np.ndarray:
    """The best IoU of each object with one of the first 3, 5 and 10 candidates, float64 [objects, 3].

    Args:
        network: in evaluation mode.
        frame: a sample of one frame.
    """
    image, ids = frame.images[0], frame.ids[0]
    device = next(network.parameters()).device
    shrunk = preprocess.shrink(image, network.input_size(image.shape[:2]), "torchvision")
    with torch.no_grad():
        best = select(network, network(shrunk[None].to(device)), 0, max(COUNTS))
    masks = [(grow(x, ids.shape) > 0) & (ids != VOID) for x in best.logits.cpu().numpy()]
    table = []
    for k in np.setdiff1d(np.unique(ids), [0, VOID]):
        truth = ids == k
        iou = [np.count_nonzero(m & truth) / np.count_nonzero(m | truth) for m in masks] or [0.0]
        table.append([max(iou[:count]) for count in COUNTS])
    return np.array(table).reshape(-1, len(COUNTS))


def measures(network: CandidateNetwork, frames: Sequence[Sample]) -> dict[str, float]:
    """Over the objects of all frames: the mean best IoU, and the share with a best IoU of at least 0.5 and 0.7.

    Returns:
        {"IoU@3": ..., "R50@3": ..., "R70@3": ..., "IoU@5": ...}; {} if there is no object.
    """
    table = np.concatenate([overlaps(network, frame) for frame in frames]) if frames else np.zeros((0, len(COUNTS)))
    if not len(table):
        return {}
    found = {}
    for count, column in zip(COUNTS, table.T, strict=True):
        found[f"IoU@{count}"] = float(column.mean())
        found |= {f"R{share}@{count}": float((column >= share / 100).mean()) for share in (50, 70)}
    return found
