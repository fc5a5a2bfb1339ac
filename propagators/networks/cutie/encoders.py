"""The encoders of Cutie: frames to features and keys; frames and masks to values of the pixel memory."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.resnet import BasicBlock, Bottleneck, ResNet
from rvos_ensemble.propagators.networks.cutie.blocks import FeatureFusion
from rvos_ensemble.propagators.networks.cutie.sensory import SensoryDeepUpdater
from rvos_ensemble.propagators.networks.cutie.sizes import STAGES, CutieSizes


class PixelEncoder(ResNet):
    """Normalised frames [1, 3, H, W] to maps at strides 4, 8 and 16."""

    stages: ClassVar[tuple[str, ...]] = STAGES

    def __init__(self, sizes: CutieSizes):
        super().__init__(sizes.blocks, sizes.stem, Bottleneck if sizes.bottleneck else BasicBlock)


class KeyProjection(nn.Module):
    """Features at stride 16 to keys, their shrinkage and their selection.

    Source: Cheng and Schwing, "XMem: Long-Term Video Object Segmentation with an Atkinson-Shiffrin Memory Model",
    ECCV 2022, sec. 3.3.
    """

    def __init__(self, c_in: int, sizes: CutieSizes):
        super().__init__()
        self.pix_feat_proj = nn.Conv2d(c_in, sizes.pixel, 1)
        self.key_proj = nn.Conv2d(sizes.pixel, sizes.key, 3, padding=1)
        self.d_proj = nn.Conv2d(sizes.pixel, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(sizes.pixel, sizes.key, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map [1, c_in, h, w] to key [1, K, h, w], shrinkage [1, 1, h, w] of at least 1, selection in 0..1."""
        x = self.pix_feat_proj(x)
        return self.key_proj(x), self.d_proj(x) ** 2 + 1, self.e_proj(x).sigmoid()


class MaskEncoder(ResNet):
    """A frame and masks to values of the pixel memory and the next sensory memory.

    The input of the first convolution is the frame, the mask and the masks of other objects. The frame's part is
    computed once for all sequences, and there are no other objects.
    """

    def __init__(self, sizes: CutieSizes):
        super().__init__(sizes.mask_blocks, sizes.mask_stem, BasicBlock, inputs=5)
        self.fuser = FeatureFusion(sizes.pixel, self.channels[-1], sizes.value)
        self.sensory_update = SensoryDeepUpdater(sizes.value, sizes.sensory)

    def forward(self, image: Tensor, pixels: Tensor, masks: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes one frame under the masks of B sequences.

        Args:
            image: the normalised frame, [1, 3, H, W].
            pixels: its projected features, [1, C, h, w].
            masks: probabilities [B, 1, H, W].
            sensory: the sensory memory, [B, S, h, w].

        Returns:
            (values [B, V, h, w], the next sensory memory).
        """
        first, last = self.conv1, torch.channels_last
        of_image, of_mask = (w.contiguous(memory_format=last) for w in (first.weight[:, :3], first.weight[:, 3:4]))
        x = F.conv2d(image, of_image, first.bias, first.stride, first.padding)  # [1, stem, H / 2, W / 2]
        x = x + F.conv2d(masks, of_mask, None, first.stride, first.padding)  # [B, stem, H / 2, W / 2]
        x = self.from_stem(x.contiguous(memory_format=last))[-1]
        values = self.fuser(self.fuser.project(pixels), x)
        return values, self.sensory_update(values, sensory)
