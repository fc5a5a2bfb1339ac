"""The heads of UNINEXT: what rates queries and cells, and what draws masks.

The mask head is that of CondInst (Tian et al., "Conditional Convolutions for Instance Segmentation", ECCV 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordAlignment(nn.Module):
    """How well queries match a sentence: a scaled dot product, one logit per query."""

    def __init__(self, words: int, channels: int):
        super().__init__()
        self.dot_product_projection_text = nn.Linear(words, channels)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(words))
        self.bias0 = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """Queries [B, Q, C], sentence [B, D] to logits [B, Q]."""
        sentence = F.normalize(sentence, dim=-1)
        direction = self.dot_product_projection_text(sentence / 2)[..., None]  # [B, C, 1]
        logit = (x @ direction)[..., 0] / self.log_scale.exp() + (sentence @ self.bias_lang + self.bias0)[:, None]
        return logit.clamp(-50000, 50000)


class ProposalRating(nn.Module):
    """How likely a cell belongs to any object, regardless of the words."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Cells [B, S, C] to logits [B, S, 1]."""
        return self.body(x)


class MaskHead(nn.Module):
    """Three levels of the encoded image to one map at stride 8, of 8 channels in the published networks."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.channels = out
        self.lay1 = nn.Conv2d(channels, channels // 4, 3, padding=1)
        self.lay2 = nn.Conv2d(channels // 4, self.channels, 3, padding=1)
        self.lay3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.lay4 = nn.Conv2d(channels, channels, 3, padding=1)
        self.jia_dcn = nn.Conv2d(
            channels, channels, 3, padding=1
        )  # deformable in early versions, now a plain convolution

    def forward(self, x8: Tensor, x16: Tensor, x32: Tensor) -> Tensor:
        """Maps [B, C, h, w] at strides 8, 16 and 32 to [B, out, h8, w8]."""
        x = self.lay3(x32).relu_()
        x = self.lay4(x16 + F.interpolate(x, size=x16.shape[-2:])).relu_()
        x = self.jia_dcn(x8 + F.interpolate(x, size=x8.shape[-2:])).relu_()
        return self.lay2(self.lay1(x).relu_()).relu_()


def double(x: Tensor) -> Tensor:
    """Maps [B, Q, h, w] upsampled by 2 as in CondInst: corners are aligned, then everything shifts by half a cell.

    >>> double(torch.tensor([[[[0.0, 4.0]]]]))[0, 0]
    tensor([[0., 0., 2., 4.],
            [0., 0., 2., 4.]])
    """
    h, w = x.shape[-2:]
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    x = F.interpolate(x, size=(2 * h + 1, 2 * w + 1), mode="bilinear", align_corners=True)
    return F.pad(x, (1, 0, 1, 0), mode="replicate")[..., : 2 * h, : 2 * w]
