"""The decoder: a feature pyramid from stride 16 up to stride 4, one logit per identity."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.layers import ConvGroupNorm
from rvos_ensemble.propagators.networks.upsample_conv import UpsampleConv

Shortcuts: TypeAlias = tuple[Tensor, Tensor, Tensor]


class FPNDecoder(nn.Module):
    """Transformer features and encoder shortcuts to identity logits.

    Args:
        c_in: channels of the transformer features.
        identities: number of logits, background included.
        shortcuts: channels of the encoder at strides 4, 8, 16.
        hidden: channels at stride 16; strides 8 and 4 have half as many.
        align_corners: see `VOSVariant.align_corners`.
    """

    def __init__(self, c_in: int, identities: int, shortcuts: tuple, hidden: int, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.conv_in = ConvGroupNorm(c_in, hidden, 1)
        self.conv_16x = ConvGroupNorm(hidden, hidden, 3)
        self.conv_8x = ConvGroupNorm(hidden, hidden // 2, 3)
        self.conv_4x = ConvGroupNorm(hidden // 2, hidden // 2, 3)
        self.adapter_16x = nn.Conv2d(shortcuts[2], hidden, 1)
        self.adapter_8x = nn.Conv2d(shortcuts[1], hidden, 1)
        self.adapter_4x = nn.Conv2d(shortcuts[0], hidden // 2, 1)
        self.conv_out = nn.Conv2d(hidden // 2, identities, 1)

        self.upsampling = nn.ModuleDict()  # conv_8x and conv_4x as `UpsampleConv`, see `fold`

    def fold(self) -> None:
        """Prepares inference: with aligned corners, `filter` becomes possible."""
        if self.align_corners:
            self.upsampling = nn.ModuleDict(
                {name: UpsampleConv(getattr(self, name).conv.weight) for name in ("conv_8x", "conv_4x")}
            )

    def adapt(self, x4: Tensor, x8: Tensor, x16: Tensor) -> Shortcuts:
        """Shortcuts at strides 4, 8, 16 from maps of the encoder; they depend on the image alone.

        Args:
            x4, x8, x16: [1, C, H / stride, W / stride].
        """
        return self.adapter_4x(x4), self.adapter_8x(x8), self.adapter_16x(x16)

    def filter(self, shortcuts: Shortcuts) -> Shortcuts:
        """Applies to the shortcuts the convolutions that follow, once for all sequences: convolutions are linear."""
        x4, x8, x16 = shortcuts
        return self.conv_4x.conv(x4), self.conv_8x.conv(x8), x16

    def forward(self, x: Tensor, shortcuts: Shortcuts, identities: int, filtered: bool = False) -> Tensor:
        """Logits of the first identities.

        Args:
            x: [B, c_in, h, w] at stride 16.
            shortcuts: from `adapt`, with batch size 1: shared by all sequences.
            identities: the number of logits to compute; the others belong to no object.
            filtered: whether the shortcuts have passed `filter`, which is slower for one sequence and faster for more.

        Returns:
            [B, identities, H / 4, W / 4].
        """
        x4, x8, x16 = shortcuts
        x = self.conv_in(x).relu_()  # [B, hidden, h, w]
        x = self.conv_16x(x16 + x).relu_()
        for name, shortcut in (("conv_8x", x8), ("conv_4x", x4)):
            block: ConvGroupNorm = getattr(self, name)
            if filtered:
                x = block.gn(self.upsampling[name](x, shortcut)).relu_()
            else:
                x = block(resize(x, shortcut.shape[-2:], self.align_corners).add_(shortcut)).relu_()
        weight = self.conv_out.weight[:identities]
        return F.conv2d(x.to(weight.dtype), weight, self.conv_out.bias[:identities])


def resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Maps [B, C, h, w] at `size`, bilinear."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)
