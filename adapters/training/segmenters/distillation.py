"""Trains a small video backbone to reproduce the features of an image network, and to predict motion.

Video backbones are published with weights from Kinetics. Trained from scratch on expressions alone, a small one learns
little but colours. The feature maps of a trained network of the same kind, which processes single frames, teach it what
to represent at every pixel; the masks of objects in neighbouring frames teach it how they move.

    python run_ensemble.py train segmenter=soc variant=video_swin_nano teacher=SOC/weights.pth

The resulting network has the teacher's text encoder and queries and a backbone that distinguishes the order of frames;
further training starts from it with `weights`. Source of the idea: Romero et al., "FitNets: Hints for Thin Deep Nets",
ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.rvos.parts import ClipFeatures
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS

MOTION_WEIGHT = 3.0  # weight of the motion loss
HALF = 0.03  # displacement, as a share of the frame's height, at which the normalised displacement is 0.5
AREA_RATIO = 0.6  # an object whose area changes more between two frames is occluded or leaves: its motion is unknown
MIN_AREA = 0.001  # smallest share of the frame of an object with known motion


class Distillation(nn.Module):
    """The losses of a student, and the linear heads that predict motion from its backbone.

    Args:
        channels: channels of the student's backbone at strides 4, 8, 16 and 32.
        teacher: a trained network of the same kind and width, with any backbone.
    """

    def __init__(self, channels: Sequence[int], teacher: RVOS):
        super().__init__()
        self.motion = nn.ModuleList(nn.Linear(c, 4) for c in channels[1:])
        self.teacher = [teacher.eval().requires_grad_(False)]  # a list keeps its weights out of the state dict

    def losses(self, student: RVOS, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """{"hint", "motion"}: the distance to the teacher's maps as a share of their variance, and the motion error.

        Args:
            student: the network in training mode.
            batch: see `batches.collate`.
        """
        frames, clips = batch["frames"], batch["clips"]
        with torch.no_grad():
            hints = feature_maps(self.teacher[0].to(frames.device).encode(frames, clips=clips))
        features, backbone_maps = self.encode(student, frames, clips)
        hint = sum(
            F.mse_loss(own, wanted) / wanted.var((0, 1)).mean()
            for own, wanted in zip(feature_maps(features), hints, strict=True)
        )
        predictions = self.displacements(backbone_maps, batch["masks"], clips)
        errors = [share * (predicted - true).square() for predicted, true, share in predictions]
        motion = sum(e.sum() / share.sum().clamp(min=1) for e, (*_, share) in zip(errors, predictions, strict=True))
        return {"hint": hint, "motion": MOTION_WEIGHT * motion}

    def accuracy(self, student: RVOS, batch: Mapping[str, Any]) -> float:
        """Share of displacements, at stride 8 and per pixel, with the correct sign; chance is 0.5."""
        device = next(student.parameters()).device
        _, backbone_maps = self.encode(student, batch["frames"].to(device), batch["clips"])
        predicted, true, share = self.displacements(backbone_maps, batch["masks"].to(device), batch["clips"])[0]
        share = share * (true.abs() > 0.3)
        return ((predicted * true > 0) * share).sum().item() / max(share.sum().item(), 1e-6)

    def encode(self, network: RVOS, frames: Tensor, clips: int) -> tuple[ClipFeatures, list[Tensor]]:
        """The network's features of frames, and the maps of its backbone at strides 8, 16 and 32."""
        backbone_maps: list[Tensor] = []
        hook = network.backbone[0].register_forward_hook(lambda _module, _args, maps: backbone_maps.extend(maps[1:]))
        try:
            return network.encode(frames, clips=clips), backbone_maps
        finally:
            hook.remove()

    def displacements(
        self, backbone_maps: list[Tensor], masks: Tensor, clips: int
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(predicted, true, weight of each pixel) at each stride, for E masks of which E / clips belong to a clip.

        Each tensor broadcasts to [E, T, 4, h, w], see `true_displacements`.
        """
        masks = masks.float()
        true, known = true_displacements(masks)
        predictions = []
        for x, head in zip(backbone_maps, self.motion, strict=True):
            x = head(x.movedim(1, 3)).movedim(3, 1).unflatten(0, (clips, -1))  # [clips, T, 4, h, w]
            predicted = x.repeat_interleave(len(masks) // clips, 0)
            share = F.interpolate(masks, x.shape[-2:], mode="area")[:, :, None] * known[..., None, None]
            predictions.append((predicted, true[..., None, None], share))
        return predictions


def feature_maps(features: ClipFeatures) -> list[Tensor]:
    """Tokens of every level, [T, h * w, C]."""
    return [*features.tokens.split([h * w for h, w in features.sizes], 1), features.fine]


def true_displacements(masks: Tensor) -> tuple[Tensor, Tensor]:
    """The displacements of objects from the previous frame and to the next frame.

    Args:
        masks: [E, T, H, W], 1 where the object is visible.

    Returns:
        float [E, T, 4]: (x, y) of both displacements, each normalised as d / (|d| + `HALF`) with d in frame heights;
        and whether each is known, [E, T, 4].
    """
    height, width = masks.shape[-2:]
    area = masks.sum((2, 3))  # [E, T]
    x = (masks.sum(2) * torch.arange(width, device=masks.device)).sum(2)
    y = (masks.sum(3) * torch.arange(height, device=masks.device)).sum(2)
    centre = torch.stack([x, y], -1) / area.clamp(min=1)[..., None] / height
    step = centre.diff(dim=1)  # [E, T - 1, 2]
    step = step / (step.norm(dim=-1, keepdim=True) + HALF)
    pair = torch.stack([area[:, 1:], area[:, :-1]])
    known = (pair.amin(0) >= AREA_RATIO * pair.amax(0)) & (pair.amin(0) >= MIN_AREA * height * width)
    known = known[..., None].expand(-1, -1, 2)
    both = [torch.cat([F.pad(v, (0, 0, 1, 0)), F.pad(v, (0, 0, 0, 1))], 2) for v in (step, known.float())]
    return both[0], both[1]
