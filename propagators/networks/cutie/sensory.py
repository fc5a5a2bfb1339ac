"""The sensory memory of Cutie: a hidden state per sequence at stride 16 that is updated like that of a GRU.

Source: Cheng and Schwing, XMem, ECCV 2022, sec. 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvos_ensemble.propagators.networks.cutie.blocks import in_float32, shrink
from rvos_ensemble.propagators.networks.cutie.sizes import CutieSizes


def gated(state: Tensor, values: Tensor) -> Tensor:
    """The next state [B, S, h, w] from the gates' and the new values' logits [B, 3 S, h, w]."""
    forget, update, new = values.chunk(3, 1)
    update = update.sigmoid()
    return forget.sigmoid() * state * (1 - update) + update * new.tanh()


class SensoryDeepUpdater(nn.Module):
    """Updates the state with the values that the mask encoder stores in the pixel memory."""

    def __init__(self, channels: int, sensory: int):
        super().__init__()
        self.transform = nn.Conv2d(channels + sensory, 3 * sensory, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Values [B, C, h, w] and state [B, S, h, w] to the next state, in float32."""
        with in_float32(x):
            return gated(state, self.transform(torch.cat([x.float(), state], 1)))


class SensoryUpdater(nn.Module):
    """Updates the state with the maps of the mask decoder."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        s = sizes.sensory
        self.g16_conv = nn.Conv2d(sizes.embed, s, 1)
        self.g8_conv = nn.Conv2d(sizes.up[0], s, 1)
        self.g4_conv = nn.Conv2d(sizes.up[1] + 1, s, 1)
        self.transform = nn.Conv2d(2 * s, 3 * s, 3, padding=1)

    def forward(self, p16: Tensor, p8: Tensor, p4: Tensor, logits: Tensor, state: Tensor) -> Tensor:
        """The next state.

        Args:
            p16, p8, p4: maps of the decoder at strides 16, 8 and 4.
            logits: [B, 1, H / 4, W / 4].
            state: [B, S, h, w].
        """
        fine = torch.cat([shrink(p4, 4), shrink(logits, 4).to(p4.dtype)], 1)
        x = self.g16_conv(p16) + self.g8_conv(shrink(p8, 2)) + self.g4_conv(fine)  # [B, S, h, w]
        with in_float32(x):
            return gated(state, self.transform(torch.cat([x.float(), state], 1)))
