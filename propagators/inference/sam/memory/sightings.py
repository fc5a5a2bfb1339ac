"""What a frame shows of each sequence, as the rules of admission read it; this waits for the device."""

from __future__ import annotations

from torch import Tensor

from rvos_ensemble.propagators.core.memory_rules.admission import Sighting, distraction
from rvos_ensemble.propagators.inference.sam.mask_decoder import Candidates


def sightings(proposed: Candidates, choice: Tensor) -> list[Sighting]:
    """Of B propagated sequences.

    Args:
        proposed: the candidate masks of the frame.
        choice: the index of the mask of each sequence, int64 [B].
    """
    visible = (proposed.logits > 0).cpu().numpy()  # [B, K, 4h, 4w]
    ious = proposed.ious.float().cpu().numpy()
    result = []
    for masks, iou, chosen in zip(visible, ious, choice.tolist(), strict=True):
        mask, others = masks[chosen], [m for k, m in enumerate(masks) if k != chosen]
        result.append(Sighting(float(mask.mean()), float(iou[chosen]), distraction(mask, others)))
    return result


def given_sighting(mask: Tensor, iou: Tensor) -> Sighting:
    """Of a mask that is given, [M, M] in 0..1, with its predicted IoU []; it has no alternatives."""
    return Sighting(float((mask > 0.5).float().mean()), float(iou))
