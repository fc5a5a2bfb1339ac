"""The collaborative ensembler: matching maps and embeddings of all objects to logits at stride 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.cfbi.layers import GCT, Bottleneck, GatedASPP, InstanceGate, pointwise
from rvos_ensemble.propagators.networks.cfbi.mixture import Mixture, energy
from rvos_ensemble.propagators.networks.cfbi.resampling import conv_of_upsampled
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes

BLOCKS = (  # stage, place in the stage, stride, dilation
    *((1, 1, 1, 1), (1, 2, 1, 2)),
    *((2, 1, 2, 1), (2, 2, 1, 2), (2, 3, 1, 4)),
    *((3, 1, 2, 1), (3, 2, 1, 2), (3, 3, 1, 4)),
)
ENTRIES = (0, 3, 6)  # the blocks that get the input of strides 4, 8 and 16


class Ensembler(nn.Module):
    """Three stages of blocks at strides 4, 8 and 16, a pyramid, and a decoder.

    Everything is gated by the means of the object's embeddings. CFBI+ has inputs at three strides, CFBI at stride 4.

    Args:
        sizes: of the network.
        low: channels of the backbone's map at stride 4.
    """

    def __init__(self, sizes: CFBISizes, low: int):
        super().__init__()
        attention, c = 4 * sizes.embedding, sizes.head
        entering, channels, self.names = dict(zip(ENTRIES, sizes.inputs, strict=False)), 0, []
        for n, (stage, place, stride, dilation) in enumerate(BLOCKS):
            channels += entering.get(n, 0)
            c_out = c if stage == 1 else 2 * c
            prefix, number = (f"S{stage}_", place) if sizes.multi_scale else ("", n + 1)
            self.names.append((f"{prefix}IA{number}", f"{prefix}layer{number}"))
            self.add_module(self.names[-1][0], InstanceGate(attention, channels))
            self.add_module(self.names[-1][1], Bottleneck(channels, c_out, stride, dilation))
            channels = c_out
        self.pyramid_gate = "ASPP_IA" if sizes.multi_scale else "IA9"
        self.add_module(self.pyramid_gate, InstanceGate(attention, channels))
        self.ASPP = GatedASPP(c)
        self.GCT_sc = GCT(low + c)
        self.conv_sc = nn.Conv2d(low + c, sizes.refine, 1, bias=False)
        self.bn_sc = nn.GroupNorm(sizes.refine // 4, sizes.refine)
        self.IA10 = InstanceGate(attention, c + sizes.refine)
        self.conv1 = nn.Conv2d(c + sizes.refine, c // 2, 3, padding=1, bias=False)
        self.bn1 = nn.GroupNorm(32, c // 2)
        self.IA11 = InstanceGate(attention, c // 2)
        self.conv2 = nn.Conv2d(c // 2, c // 2, 3, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(32, c // 2)
        self.IA_final_fg = nn.Linear(attention, c // 2 + 1)
        self.IA_final_bg = nn.Linear(attention, c // 2 + 1)

    def forward(self, levels: Sequence[Mixture], means: Tensor, low: Tensor) -> Tensor:
        """Logits of S sequences.

        Args:
            levels: the input at each stride.
            means: [2 S, 4 C], means of the embeddings for each object: of references inside and outside it, and of the
                previous frame inside and outside it.
            low: [low, h, w], the backbone's map at stride 4.

        Returns:
            [S, 2, h, w], background first.
        """
        entering, x = dict(zip(ENTRIES, levels, strict=False)), None
        for n, (gate, layer) in enumerate(self.names):
            if n in entering:
                x = entering[n] if x is None else entering[n].behind(x)
            x = getattr(self, layer)(x, getattr(self, gate)(means))
            if n == 1:
                shortcut = self._shortcut(x, low)  # [2 S, refine, h, w]
        x = self.ASPP(x, getattr(self, self.pyramid_gate)(means))
        return self._logits(self._decode(x, shortcut, means), means)

    def _shortcut(self, x: Tensor, low: Tensor) -> Tensor:
        """The shortcut from the backbone's map, which all objects share, and x [2 S, c, h, w]."""
        b, c = len(x), len(low)
        squares = torch.cat([energy(low[None]).expand(b, -1), energy(x)], 1)
        weight = self.conv_sc.weight.flatten(1) * self.GCT_sc(squares)[:, None]  # [2 S, refine, low + c]
        shared = (weight[..., :c].flatten(0, 1).to(low.dtype) @ low.flatten(1)).view(b, -1, *low.shape[1:])
        return F.relu(self.bn_sc(shared + pointwise(weight[..., c:], x)), inplace=True)

    def _decode(self, x: Tensor, shortcut: Tensor, means: Tensor) -> Tensor:
        """The pyramid's map [2 S, c, h / 4, w / 4] and the shortcut to [2 S, c / 2, h, w]."""
        gates, c, size = self.IA10(means)[:, :, None, None].to(x.dtype), x.shape[1], tuple(shortcut.shape[-2:])
        y = F.conv2d(shortcut * gates[:, c:], self.conv1.weight[:, c:], padding=1)
        y = y + conv_of_upsampled(x * gates[:, :c], self.conv1.weight[:, :c], size, "bicubic")
        y = self.bn1(y).relu_() * self.IA11(means)[:, :, None, None].to(y.dtype)
        return self.bn2(self.conv2(y)).relu_()

    def _logits(self, x: Tensor, means: Tensor) -> Tensor:
        """Logits [S, 2, h, w]; that of the background is increased by what the object considers as background."""
        own, ground = self.IA_final_fg(means), self.IA_final_bg(means[1::2])
        logits = pointwise(own[:, None, :-1], x)[:, 0] + own[:, -1, None, None]
        relative = pointwise(ground[:, None, :-1], x[1::2])[:, 0] + ground[:, -1, None, None]
        return torch.stack([logits[0::2] + relative, logits[1::2]], 1)
