"""The decoder: a feature pyramid from stride 16 up to stride 4, one logit per identity."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from propagators.networks.enlarge import EnlargeConv
from propagators.networks.layers import ConvGN


class FPNDecoder(nn.Module):
    """Transformer features and encoder shortcuts to identity logits.

    Args:
        c_in: channels of the transformer features.
        identities: logits out, background included.
        shortcuts: channels of the encoder at strides 4, 8, 16.
        hidden: channels at stride 16; half as many at 8 and 4.
        align_corners: how maps are resized.
    """

    def __init__(self, c_in: int, identities: int, shortcuts: tuple, hidden: int, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.conv_in = ConvGN(c_in, hidden, 1)
        self.conv_16x = ConvGN(hidden, hidden, 3)
        self.conv_8x = ConvGN(hidden, hidden // 2, 3)
        self.conv_4x = ConvGN(hidden // 2, hidden // 2, 3)
        self.adapter_16x = nn.Conv2d(shortcuts[2], hidden, 1)
        self.adapter_8x = nn.Conv2d(shortcuts[1], hidden, 1)
        self.adapter_4x = nn.Conv2d(shortcuts[0], hidden // 2, 1)
        self.conv_out = nn.Conv2d(hidden // 2, identities, 1)

        self.fast: nn.ModuleDict = nn.ModuleDict()  # of conv_8x and conv_4x, see `fold`

    def fold(self) -> None:
        """For inference: where corners are aligned, maps are enlarged and filtered in one."""
        if self.align_corners:
            self.fast = nn.ModuleDict({k: EnlargeConv(getattr(self, k).conv.weight) for k in ("conv_8x", "conv_4x")})

    def adapt(self, x4: Tensor, x8: Tensor, x16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part that depends on the image alone: shortcuts at strides 4, 8, 16, the first two filtered already."""
        return self.conv_4x.conv(self.adapter_4x(x4)), self.conv_8x.conv(self.adapter_8x(x8)), self.adapter_16x(x16)

    def forward(self, x: Tensor, shortcuts: tuple[Tensor, Tensor, Tensor], identities: int) -> Tensor:
        """Logits of the first identities.

        Args:
            x: [B, c_in, h, w] at stride 16.
            shortcuts: from `adapt`, batch 1: shared by all sequences.
            identities: how many logits to compute; the others are of no object.

        Returns:
            [B, identities, H / 4, W / 4].
        """
        x4, x8, x16 = shortcuts
        x = self.conv_in(x).relu_()
        x = self.conv_16x(x16 + x).relu_()
        x = self._grow("conv_8x", x, x8).relu_()
        x = self._grow("conv_4x", x, x4).relu_()
        return F.conv2d(x, self.conv_out.weight[:identities], self.conv_out.bias[:identities])

    def _grow(self, name: str, x: Tensor, shortcut: Tensor) -> Tensor:
        """A block on the enlarged map; its shortcut [1, C, H, W] is filtered already: convolutions add up."""
        block: ConvGN = getattr(self, name)
        if name in self.fast:
            return block.gn(self.fast[name](x, shortcut))
        x = F.conv2d(resize(x, shortcut.shape[-2:], self.align_corners), block.conv.weight, padding=1)
        return block.gn(x + shortcut)


def resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Bilinear to `size`."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)
