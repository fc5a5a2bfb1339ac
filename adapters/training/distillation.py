"""Teaches a small video backbone to see: what an image network sees in frames, and how things move.

Backbones of video are published with weights from Kinetics. From nothing, and from sentences alone, a small one learns
colours and little else. The maps of a trained network of the same kind, which sees one frame at a time, tell it what to
see at every pixel; the masks of things in neighbouring frames tell it how they move.

    python run_ensemble.py train segmenter=soc variant=video_swin_nano teacher=SOC/weights.pth

The network that comes out has the teacher's words and queries on a backbone that knows the order of frames: a start for
`weights`. Source of the idea: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.swin import WindowAttention
from rvos_ensemble.adapters.networks.rvos.parts import Features
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS

MOTION = 3.0  # weight of the loss of motions
HALF = 0.03  # of the frame's height: the length of a way that counts half of a long one's
LIKE = 0.6  # least ratio of a thing's areas in two frames, for its way to be known: else it was hidden, or left
LEAST = 0.001  # of the frame that a thing covers
NEAR = (0.6, 1.2, 1.2)  # how far heads look at first: frames, rows and columns


def look_nearby(network: nn.Module) -> None:
    """Every head of windows starts with a place to look at: near, in the frame before, the one after or the same.

    With biases that start at zero a backbone told no motion after 400 steps, with these 77 to 84 % of the ways after
    200. What `look_around` is to deformable attention. In windows of one frame, other frames count as the same.
    """
    frame = itertools.cycle((-1.0, 1.0, 0.0))
    for attention in (m for m in network.modules() if isinstance(m, WindowAttention)):
        grid = torch.meshgrid(*(torch.arange(1.0 - extent, extent) for extent in attention.window), indexing="ij")
        offsets = torch.stack(grid, -1).flatten(0, 2)
        for bias in attention.relative_position_bias_table.data.T:
            angle, radius = torch.rand(2) * torch.tensor([2 * torch.pi, 1.5])
            centre = torch.stack([torch.tensor(next(frame)), radius * angle.cos(), radius * angle.sin()])
            bias.copy_(-((offsets - centre) / torch.tensor(NEAR)).square().sum(1).clamp(max=12) / 2)


class Imitation(nn.Module):
    """What is asked of a student, and the heads that answer.

    Args:
        channels: of the student's backbone, at strides 4, 8, 16 and 32.
        teacher: a trained network of the same kind and width, with any backbone.
    """

    def __init__(self, channels: Sequence[int], teacher: RVOS):
        super().__init__()
        self.motion = nn.ModuleList(nn.Linear(c, 4) for c in channels[1:])
        self.teacher = [teacher.eval().requires_grad_(False)]  # in a list: its weights are not among ours

    def losses(self, student: RVOS, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """How far its maps are from the teacher's, as shares of their variance, and what it says of motions.

        Args:
            student: in training.
            batch: see `segmenters.pad`.
        """
        frames, clips = batch["frames"], batch["clips"]
        with torch.no_grad():
            hints = maps_of(self.teacher[0].to(frames.device).encode(frames, clips=clips))
        features, seen = self.watch(student, frames, clips)
        hint = sum(
            F.mse_loss(own, wanted) / wanted.var((0, 1)).mean()
            for own, wanted in zip(maps_of(features), hints, strict=True)
        )
        said = self.ways(seen, batch["masks"], clips)
        errors = [share * (way - true).square() for way, true, share in said]
        motion = sum(e.sum() / share.sum().clamp(min=1) for e, (*_, share) in zip(errors, said, strict=True))
        return {"hint": hint, "motion": MOTION * motion}

    def right(self, student: RVOS, batch: Mapping[str, Any]) -> float:
        """Share of the ways, at stride 8 and pixel by pixel, told in the right direction; 0.5 is chance."""
        device = next(student.parameters()).device
        _, seen = self.watch(student, batch["frames"].to(device), batch["clips"])
        way, true, share = self.ways(seen, batch["masks"].to(device), batch["clips"])[0]
        share = share * (true.abs() > 0.3)
        return ((way * true > 0) * share).sum().item() / max(share.sum().item(), 1e-6)

    def watch(self, network: RVOS, frames: Tensor, clips: int) -> tuple[Features, list[Tensor]]:
        """What a network makes of frames, and the maps of its backbone at strides 8, 16 and 32."""
        seen: list[Tensor] = []
        hook = network.backbone[0].register_forward_hook(lambda _module, _given, maps: seen.extend(maps[1:]))
        try:
            return network.encode(frames, clips=clips), seen
        finally:
            hook.remove()

    def ways(self, seen: list[Tensor], masks: Tensor, clips: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(said, true, share of a pixel that counts) at each stride, of E masks, E / clips a clip; [E, T, 4, h, w]."""
        masks = masks.float()
        true, known = ways_of(masks)
        found = []
        for x, head in zip(seen, self.motion, strict=True):
            x = head(x.movedim(1, 3)).movedim(3, 1).unflatten(0, (clips, -1))  # [clips, T, 4, h, w]
            said = x.repeat_interleave(len(masks) // clips, 0)
            share = F.interpolate(masks, x.shape[-2:], mode="area")[:, :, None] * known[..., None, None]
            found.append((said, true[..., None, None], share))
        return found


def maps_of(features: Features) -> list[Tensor]:
    """Tokens of every level, [T, h * w, C]."""
    return [*features.tokens.split([h * w for h, w in features.sizes], 1), features.fine]


def ways_of(masks: Tensor) -> tuple[Tensor, Tensor]:
    """How things go from the frame before, and to the next.

    Args:
        masks: [E, T, H, W], 1 where the thing is seen.

    Returns:
        float [E, T, 4]: (x, y) of both ways, d / (|d| + `HALF`) of a way d in frame heights; and whether each is known,
        [E, T, 4].
    """
    height, width = masks.shape[-2:]
    area = masks.sum((2, 3))  # [E, T]
    x = (masks.sum(2) * torch.arange(width, device=masks.device)).sum(2)
    y = (masks.sum(3) * torch.arange(height, device=masks.device)).sum(2)
    place = torch.stack([x, y], -1) / area.clamp(min=1)[..., None] / height
    way = place.diff(dim=1)  # [E, T - 1, 2]
    way = way / (way.norm(dim=-1, keepdim=True) + HALF)
    pair = torch.stack([area[:, 1:], area[:, :-1]])
    known = (pair.amin(0) >= LIKE * pair.amax(0)) & (pair.amin(0) >= LEAST * height * width)
    known = known[..., None].expand(-1, -1, 2)
    ends = [torch.cat([F.pad(v, (0, 0, 1, 0)), F.pad(v, (0, 0, 0, 1))], 2) for v in (way, known.float())]
    return ends[0], ends[1]
