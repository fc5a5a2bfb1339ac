"""From cells to the best masks of a frame: the peaks of their scores, without duplicates.

Source: Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020: maskness and Matrix NMS.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork, Cells

PEAKS = 40  # cells whose masks are computed
SIGMA = 2.0  # of the Gaussian decay of Matrix NMS, as in SOLOv2


class Candidates(NamedTuple):
    """The objects of a frame, the best first.

    Attributes:
        logits: mask logits float32 [N, h, w] at stride 4.
        scores: [N], 0..1.
    """

    logits: Tensor
    scores: Tensor


def select(
    network: CandidateNetwork, cells: Cells, frame: int, most: int, threshold: float = 0.0, min_area: float = 0.0
) -> Candidates:
    """The best masks of a frame.

    The score of a mask is objectness times predicted quality times maskness, decayed by the overlap with better masks.

    Args:
        network: computes the masks.
        cells: of a batch.
        frame: index of the frame in the batch.
        most: number of candidates.
        threshold: lowest score.
        min_area: smallest mask, as a share of the frame.
    """
    objectness = cells.objectness[frame].float().sigmoid()
    scores = (peaks(objectness) * cells.quality[frame].float().sigmoid()).flatten()
    scores, index = scores.topk(min(PEAKS, len(scores)))
    index, scores = index[scores >= threshold], scores[scores >= threshold]  # what follows only lowers scores
    if not len(index):
        return Candidates(cells.features.new_zeros(0, *cells.features.shape[2:]), scores)
    width = objectness.shape[1]
    logits = network.masks(cells, frame, index // width, index % width)
    probability = logits.sigmoid()
    masks = logits > 0
    area = masks.flatten(1).sum(1)
    maskness = (probability * masks).flatten(1).sum(1) / area.clamp(min=1)
    scores, order = (scores * maskness * (area > min_area * masks[0].numel())).sort(descending=True, stable=True)
    scores = matrix_nms(masks[order], scores)
    scores, best = scores.sort(descending=True, stable=True)
    kept = best[:most][(scores[:most] > 0) & (scores[:most] >= threshold)]
    return Candidates(logits[order][kept], scores[: len(kept)])


def peaks(objectness: Tensor) -> Tensor:
    """Objectness [h, w] where it is the maximum of its 3 x 3 neighbourhood, 0 elsewhere.

    >>> peaks(torch.tensor([[0.1, 0.3, 0.2, 0.0, 0.4]])).tolist()
    [[0.0, 0.30000001192092896, 0.0, 0.0, 0.4000000059604645]]
    """
    return objectness * (F.max_pool2d(objectness[None], 3, 1, 1)[0] == objectness)


def matrix_nms(masks: Tensor, scores: Tensor) -> Tensor:
    """Decays the score of each mask by its overlap with better ones, less if a better one is itself a duplicate.

        min over better i of exp(-SIGMA (IoU_ij^2 - max over better k of IoU_ki^2))

    Args:
        masks: bool [K, h, w], in descending order of their scores.
        scores: [K].

    Returns:
        The decayed scores [K], in the same order.

    >>> a, b = torch.tensor([[[True, True, False]]]), torch.tensor([[[False, False, True]]])
    >>> [round(s, 3) for s in matrix_nms(torch.cat([a, a, b]), torch.tensor([0.9, 0.8, 0.7])).tolist()]
    [0.9, 0.108, 0.7]
    """
    flat = masks.flatten(1).float()
    common = flat @ flat.T
    area = flat.sum(1)
    iou = (common / (area[:, None] + area - common).clamp(min=1)).triu(1)  # [better i, j]
    worst = iou.amax(0)  # of each mask with a better one
    decay = torch.exp(-SIGMA * (iou**2 - worst[:, None] ** 2)).where(iou.new_ones(iou.shape).triu(1) > 0, 1.0)
    return scores * decay.amin(0)
