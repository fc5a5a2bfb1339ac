"""The losses of the candidate network: objectness of all cells, masks and their quality of the cells of objects.

Source: Wang et al., "SOLOv2", NeurIPS 2020: focal loss and Dice; Huang et al., "Mask Scoring R-CNN", CVPR 2019: the IoU
of the predicted mask.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.candidates.network import CandidateNetwork
from rvos_ensemble.adapters.training.candidates.targets import IGNORED, Targets
from rvos_ensemble.adapters.training.losses import dice, focal

DICE = 3.0  # weight, as in SOLOv2
EMPTY = -30.0  # logit of void pixels, which then cost nothing


def losses(network: CandidateNetwork, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    """The weighted losses of a batch.

    Every object has the same weight, however many cells it owns.

    Args:
        network: in training mode.
        images: normalised, [B, 3, H, W].
        targets: of the B frames.

    Returns:
        {"objectness", "dice", "cross_entropy", "quality"}: scalars.
    """
    cells = network(images)
    owner = targets.owner
    positive = owner >= 0
    objectness = focal(cells.objectness, positive) * (owner != IGNORED)
    result = {"objectness": objectness.sum() / positive.sum().clamp(min=1)}
    if not positive.any():  # no object: the other parts take part with a gradient of 0
        nothing = 0 * sum(part.float().sum() for part in (cells.quality, cells.kernels, cells.features))
        return {**result, "dice": nothing, "cross_entropy": nothing, "quality": nothing}
    frame, rows, columns = positive.nonzero(as_tuple=True)  # in the order of the frames
    own = owner[positive]
    logits = torch.cat(
        [network.masks(cells, b, rows[frame == b], columns[frame == b]) for b in frame.unique().tolist()]
    )
    logits = logits.masked_fill(targets.void[frame], EMPTY)
    truth = targets.masks[own]
    count = torch.bincount(own)
    weight = 1 / count[own] / (count > 0).sum()  # the sum over all cells is 1

    def mean(values: Tensor) -> Tensor:
        return (weight * values).sum()

    found, true = logits.detach() > 0, truth > 0.5
    iou = (found & true).sum((1, 2)) / (found | true).sum((1, 2)).clamp(min=1)
    quality = cells.quality[positive].float()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2))
    return {
        **result,
        "dice": DICE * mean(dice(logits.flatten(1), truth.flatten(1))),
        "cross_entropy": mean(cross_entropy),
        "quality": mean(F.binary_cross_entropy_with_logits(quality, iou, reduction="none")),
    }
