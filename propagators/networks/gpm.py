"""The gated propagation module (GPM) of DeAOT: a visual and an identity branch that share their attention maps.

Source: Yang and Yang, "Decoupling Features in Hierarchical Propagation for Video Object Segmentation", NeurIPS 2022,
Sec. 4. One head of width C / 2; values and gates are twice as wide as the branches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import silu

from rvos_ensemble.adapters.networks.layers import DropPath
from rvos_ensemble.propagators.networks.attention import WINDOW, LocalWindow, Values, attend
from rvos_ensemble.propagators.networks.layers import DepthwiseConv, TokenGroupNorm
from rvos_ensemble.propagators.networks.memory import ReadableMemory, Tokens


class GPMQuery(NamedTuple):
    """What a module computes before it reads its memory.

    Q is 1 in the first module, which depends on the image alone, and B in later ones.

    Attributes:
        x: [Q, N, C], the visual stream.
        id_x: [B, N, C], the identity stream; None in the first module.
        id_y: [B, N, C], the normalised identity stream; None in the first module.
        q: [Q, N, C / 2], the query, which is also the key for later frames.
        v: [Q, N, 2 C], the visual value.
        gate: [Q, N, 2 C], the gate of the visual branch.
        id_gate: [B, N, 2 C], the gate of the identity branch; None in the first module, where it is 1.
    """

    x: Tensor
    id_x: Tensor | None
    id_y: Tensor | None
    q: Tensor
    v: Tensor
    gate: Tensor
    id_gate: Tensor | None


class GatedOutput(nn.Module):
    """Applies the gates to the attention outputs of both branches, then a depth-wise convolution and a projection."""

    def __init__(self, c: int):
        super().__init__()
        self.dw_conv = DepthwiseConv(4 * c)
        self.projection = nn.Linear(4 * c, 2 * c)

    def forward(self, read: Values, gates: tuple[Tensor, Tensor | None], size: tuple[int, int]) -> Tensor:
        """Gated output of both branches.

        Each branch is computed separately, because all sequences may share the visual one, which is then computed once.

        Args:
            read: outputs of the attention, visual [1 or B, N, 2 C] and identity [B, N, 2 C].
            gates: visual [1 or B, N, 2 C] and identity [B, N, 2 C] or None.
            size: (h, w).

        Returns:
            [B, N, 2 C], the visual and the identity branch.
        """
        visual, ids = read[0] * gates[0], read[1] if gates[1] is None else read[1] * gates[1]
        half, weight = visual.shape[2], self.projection.weight
        out = F.linear(self.dw_conv(ids, size, slice(half, None)), weight[:, half:], self.projection.bias)
        return out + F.linear(self.dw_conv(visual, size, slice(half)), weight[:, :half])


class SelfGPM(GatedOutput):
    """Gated propagation within the frame."""

    def __init__(self, c: int):
        super().__init__(c)
        self.linear_QK = nn.Linear(2 * c, c // 2)
        self.linear_V1 = nn.Linear(c, 2 * c)
        self.linear_V2 = nn.Linear(c, 2 * c)
        self.linear_U1 = nn.Linear(c, 2 * c)
        self.linear_U2 = nn.Linear(c, 2 * c)

    def forward(self, x: Tensor, id_x: Tensor, size: tuple[int, int]) -> Tensor:
        """Normalised visual and identity streams, each [B, N, C], to both branches [B, N, 2 C]."""
        qk = self.linear_QK(torch.cat([x, id_x], 2))
        read = attend(qk, qk, (silu(self.linear_V1(x)), silu(self.linear_V2(id_x))))
        return super().forward(read, (silu(self.linear_U1(x)), silu(self.linear_U2(id_x))), size)


class ShortTermGPM(GatedOutput):
    """Gated propagation from the 15x15 window in the previous frame."""

    def __init__(self, c: int):
        super().__init__(c)
        self.relative_emb_k = nn.Conv2d(c // 2, WINDOW**2, 1)

    def read(self, q: Tensor, memory: Tokens, window: LocalWindow) -> Values:
        """Attention of queries [1 or B, N, C / 2] to both values, each [1 or B, N, 2 C]."""
        relative_k = self.relative_emb_k.weight.flatten(1), self.relative_emb_k.bias
        return window.attend(q, memory.key, memory.values, relative_k)


class GatedPropagationModule(nn.Module):
    """One module: `query`, then `forward` with the memories; a reference frame is its own memory."""

    def __init__(self, c: int, index: int):
        super().__init__()
        self.first = index == 0
        self.norm1 = nn.LayerNorm(c)
        self.linear_QV = nn.Linear(c, c // 2 + 2 * c)
        self.linear_U = nn.Linear(c, 2 * c)
        if self.first:
            self.linear_ID_V = nn.Linear(c, 2 * c)
        else:
            self.id_norm1 = nn.LayerNorm(c)
            self.linear_ID_V = nn.Linear(2 * c, 2 * c)
            self.linear_ID_U = nn.Linear(c, 2 * c)
        self.long_term_attn = GatedOutput(c)
        self.short_term_attn = ShortTermGPM(c)
        self.norm2 = nn.LayerNorm(c)
        self.id_norm2 = nn.LayerNorm(c)
        self.self_attn = SelfGPM(c)
        self.drop_path = DropPath()

    def query(self, stream: Tensor, position: Tensor, size: tuple[int, int]) -> GPMQuery:
        """Query, visual value and gates.

        Args:
            stream: the visual stream [1, N, C] in the first module, otherwise both streams [B, N, 2 C].
            position: not used, and neither is `size`: `LSTTBlock.query` has the same arguments.
        """
        c = self.norm1.normalized_shape[0]
        x, id_x = stream[..., :c], None if self.first else stream[..., c:]
        y = self.norm1(x)
        q, v = self.linear_QV(y).split([c // 2, 2 * c], 2)
        id_y = id_gate = None
        if id_x is not None:
            id_y = self.id_norm1(id_x)
            id_gate = silu(self.linear_ID_U(id_y))
        return GPMQuery(x, id_x, id_y, q.contiguous(), silu(v), silu(self.linear_U(y)), id_gate)

    def remember(self, query: GPMQuery, ids: Tensor) -> Tokens:
        """Key and values of this frame for later frames, from its identity embedding [B, N, C]."""
        identity = ids if query.id_y is None else torch.cat([query.id_y, ids], 2)
        return Tokens(query.q, (query.v, silu(self.linear_ID_V(identity))))

    def forward(self, query: GPMQuery, long: ReadableMemory, short: Tokens, window: LocalWindow) -> Tensor:
        """Both streams [B, N, 2 C] after both memories and the propagation within the frame."""
        size, gates = (window.h, window.w), (query.gate, query.id_gate)
        both = self.long_term_attn(long.read(query.q), gates, size)
        both = both + self.short_term_attn(self.short_term_attn.read(query.q, short, window), gates, size)
        x, id_x = both.chunk(2, 2)
        x, id_x = query.x + x, id_x if query.id_x is None else query.id_x + id_x
        within = self.self_attn(self.norm2(x), self.id_norm2(id_x), size)
        return torch.cat([x, id_x], 2) + self.drop_path(within, branches=2)


class DualBranchGPM(nn.Module):
    """All modules, and the norm of the last one's output for the decoder."""

    def __init__(self, c: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(GatedPropagationModule(c, i) for i in range(layers))
        self.decoder_norms = nn.ModuleList([TokenGroupNorm(2 * c, groups=2)])

    def outputs(self, streams: list[Tensor]) -> Values:
        """The input of the decoder: both branches of the last module, each normalised, [B, N, 2 C]."""
        return (self.decoder_norms[0](streams[-1]),)
