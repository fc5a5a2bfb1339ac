"""The mask decoder of Cutie: object readouts at stride 16 to mask logits at stride 4."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.cutie.blocks import ResBlock, grow, in_float32
from rvos_ensemble.propagators.networks.cutie.sensory import SensoryUpdater
from rvos_ensemble.propagators.networks.cutie.sizes import CutieSizes


class UpsampleBlock(nn.Module):
    """Doubles the size of a map and adds a skip connection, which all sequences share."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.out_conv = ResBlock(c_in, c_out)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map [B, c_in, h, w] and skip [1, c_in, 2 h, 2 w] to [B, c_out, 2 h, 2 w]."""
        return self.out_conv(grow(x, 2) + skip)


class MaskDecoder(nn.Module):
    """Two upsampling blocks and the prediction; the sensory memory learns what was decoded.

    Args:
        sizes: of the network.
        encoder: channels of the pixel encoder at strides 8 and 4.
    """

    def __init__(self, sizes: CutieSizes, encoder: tuple[int, int]):
        super().__init__()
        self.sensory_update = SensoryUpdater(sizes)
        to = (sizes.embed, sizes.up[0])
        skips = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(encoder, to, strict=True))
        self.decoder_feat_proc = nn.ModuleDict({"transforms": skips})
        self.up_16_8 = UpsampleBlock(sizes.embed, sizes.up[0])
        self.up_8_4 = UpsampleBlock(*sizes.up)
        self.pred = nn.Conv2d(sizes.up[1], 1, 3, padding=1)

    def skips(self, f8: Tensor, f4: Tensor) -> tuple[Tensor, Tensor]:
        """The skip connections at strides 8 and 4 from the maps of the pixel encoder; computed once per frame."""
        at_8, at_4 = self.decoder_feat_proc["transforms"]
        return at_8(f8), at_4(f4)

    def forward(self, p16: Tensor, skips: tuple[Tensor, Tensor], state: Tensor, update: list[bool]):
        """Decodes B sequences.

        Args:
            p16: object readouts, [B, E, h, w].
            skips: of the frame, see `skips`.
            state: the sensory memory, [B, S, h, w].
            update: for each sequence, whether its sensory memory is updated.

        Returns:
            (logits float32 [B, 1, H / 4, W / 4], the next sensory memory).
        """
        p8 = self.up_16_8(p16, skips[0])
        p4 = self.up_8_4(p8, skips[1])
        with in_float32(p4):
            logits = self.pred(F.relu(p4.float()))
        if all(update):
            return logits, self.sensory_update(p16, p8, p4, logits, state)
        rows = [i for i, wanted in enumerate(update) if wanted]
        if rows:
            state = state.clone()
            state[rows] = self.sensory_update(p16[rows], p8[rows], p4[rows], logits[rows], state[rows])
        return logits, state
