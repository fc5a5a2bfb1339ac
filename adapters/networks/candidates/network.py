"""A small network that finds the objects of a frame, whatever their class: masks with scores, without boxes.

MobileNetV2 and a feature pyramid make a grid of cells at stride 16. Each cell says whether it is the centre of an
object, how good its mask is, and the weights of the convolutions that compute the mask at stride 4.

Source: cells and their assignment, Wang et al., "SOLOv2: Dynamic and Fast Instance Segmentation", NeurIPS 2020; dynamic
masks, Tian et al., "Conditional Convolutions for Instance Segmentation" (CondInst), ECCV 2020; predicted quality of
masks, Huang et al., "Mask Scoring R-CNN", CVPR 2019.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.mobilenetv2 import MobileNetV2
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, dynamic_masks, parameters_per_query
from rvos_ensemble.adapters.networks.fpn import ConvGN
from rvos_ensemble.adapters.networks.layers import Size, fold_batch_norm

STRIDE = 16  # of the cells
FINE = 4  # stride of the masks
MULTIPLE = 32  # of height and width of the input
FEATURES = 8  # channels of the map from which masks are computed
REACH = 16  # cells of the masks that an offset of 1 means, so that offsets have the size of features
PRIOR = -4.0  # initial logit of the objectness: few cells are centres


class Cells(NamedTuple):
    """What the network predicts for a batch of frames.

    Attributes:
        objectness: logits [B, h, w] at stride 16, whether the cell is the centre of an object.
        quality: logits [B, h, w], the IoU of the cell's mask with the object.
        kernels: [B, P, h, w], parameters of the mask of each cell.
        features: [B, 8, 4 h, 4 w] at stride 4.
    """

    objectness: Tensor
    quality: Tensor
    kernels: Tensor
    features: Tensor


class Trunk(MobileNetV2):
    """MobileNetV2 without its last convolution: maps of 24, 32, 96 and 320 channels at strides 4, 8, 16 and 32."""

    ends = (4, 7, 14, 18)
    channels = (24, 32, 96, 320)

    def __init__(self):
        super().__init__(dilated=False)
        del self.features[-1]


class CandidateNetwork(nn.Module):
    """Frames to cells, and cells to masks.

    Args:
        channels: of the pyramid, a multiple of 16; the head has half as many again.
        short_side: of the input for which it is trained, pixels.
    """

    def __init__(self, channels: int = 64, short_side: int = 288):
        super().__init__()
        self.register_buffer("short_side", torch.tensor(short_side))
        c4, c8, c16, c32 = Trunk.channels
        wide, narrow = channels * 3 // 2, channels // 2
        self.backbone = Trunk()
        self.lateral32, self.lateral16, self.lateral8 = (ConvGN(c, channels, 1) for c in (c32, c16, c8))
        self.context = nn.Conv2d(channels, channels, 1)
        self.smooth16, self.smooth8 = (ConvGN(channels, channels, 3) for _ in range(2))
        self.narrow8, self.lateral4 = ConvGN(channels, narrow, 1), ConvGN(c4, narrow, 1)
        self.smooth4 = ConvGN(narrow, narrow, 3)
        self.features = nn.Conv2d(narrow, FEATURES, 1)
        self.tower = nn.ModuleList([ConvGN(channels, wide, 3), ConvGN(wide, wide, 3)])
        self.scores = nn.Conv2d(wide, 2, 3, padding=1)
        self.kernels = nn.Conv2d(wide, parameters_per_query(FEATURES), 3, padding=1)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.constant_(self.scores.bias, PRIOR)

    def input_size(self, size: Size, short_side: int | None = None) -> Size:
        """(h, w) of the input for frames of `size`: multiples of 32 closest to the short side and the aspect ratio.

        Args:
            size: (H, W) of the frames.
            short_side: pixels; None: that for which the network was trained.

        >>> CandidateNetwork().input_size((480, 854)), CandidateNetwork().input_size((854, 480), 100)
        ((288, 512), (192, 96))
        """
        scale = (short_side or int(self.short_side)) / min(size)
        h, w = (max(1, round(n * scale / MULTIPLE)) * MULTIPLE for n in size)
        return h, w

    def forward(self, images: Tensor) -> Cells:
        """Normalised images [B, 3, H, W], H and W multiples of 32, to their cells at stride 16."""
        x4, x8, x16, x32 = self.backbone(images.contiguous(memory_format=torch.channels_last))
        x = self.lateral32(x32)
        x = (x + self.context(x.mean((2, 3), keepdim=True))).relu_()
        x16 = self.smooth16(self.lateral16(x16) + upsampled(x, 2)).relu_()
        x8 = self.smooth8(self.lateral8(x8) + upsampled(x16, 2)).relu_()
        fine = self.smooth4(self.lateral4(x4) + upsampled(self.narrow8(x8), 2)).relu_()
        for layer in self.tower:
            x16 = layer(x16).relu_()
        objectness, quality = self.scores(x16).unbind(1)
        return Cells(objectness, quality, self.kernels(x16), self.features(fine))

    def fold(self) -> CandidateNetwork:
        """Prepares the network for inference, in place; returns it."""
        fold_batch_norm(self.backbone)
        return self.eval()

    def masks(self, cells: Cells, frame: int, rows: Tensor, columns: Tensor) -> Tensor:
        """Mask logits of some cells of a frame.

        Args:
            cells: of a batch.
            frame: index of the frame in the batch.
            rows, columns: int64 [K], the cells.

        Returns:
            float32 [K, H / 4, W / 4].
        """
        parameters = cells.kernels[frame][:, rows, columns].T[None]  # [1, K, P]
        kernels = Kernels.split(parameters, FEATURES)
        kernels = kernels._replace(offset=kernels.offset / REACH)
        ratio = STRIDE // FINE
        centre = torch.stack([columns, rows], -1)[None] * ratio + (ratio - 1) / 2  # of the cell, in pixels of the masks
        return dynamic_masks(cells.features[frame : frame + 1], kernels, centre, stride=1)[0]


def upsampled(x: Tensor, factor: int) -> Tensor:
    """A map [B, C, h, w], bilinearly enlarged by a factor."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
