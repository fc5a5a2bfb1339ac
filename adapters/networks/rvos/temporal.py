"""From the queries of all frames to queries of the whole clip: MTI of MUTR and VOC of SOC are the same module.

Source: Heo et al., "VITA: Video Instance Segmentation via Object Token Association", NeurIPS 2022, the origin of
both; Yan et al., "Referred by Multi-Modality" (MUTR), AAAI 2024; Luo et al., "SOC", NeurIPS 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import Attention, FeedForward


class QuerySelfAttention(nn.Module):
    """Self-attention, residual connection and norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.self_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, N, C] with a position embedding and a mask, see `Attention`, to the same."""
        placed = x if position is None else x + position
        return self.norm(x + self.self_attn(placed, placed, x, mask))


class QueryCrossAttention(nn.Module):
    """Attention from x to a memory, residual connection and norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.multihead_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor, memory: Tensor, memory_position: Tensor) -> Tensor:
        """x [B, N, C], memory [B, M, C] and their position embeddings to [B, N, C]."""
        return self.norm(x + self.multihead_attn(x + position, memory + memory_position, memory))


class NormedFeedForward(FeedForward):
    """Feed-forward part, residual connection and norm."""

    def __init__(self, channels: int, hidden: int):
        super().__init__(channels, hidden)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] to the same."""
        return self.norm(x + self.feed_forward(x))


class Temporal(nn.Module):
    """Q queries per frame to Q queries of the clip.

    Args:
        queries: Q.
        window: frames per attention window of the encoder, shifted by half a window in every second layer; None for
            attention among all frames.
        learned_start: the clip's queries are initialised with learned vectors (MUTR), else by the caller (SOC: with the
            sentence).
    """

    def __init__(
        self,
        queries: int,
        window: int | None,
        learned_start: bool,
        channels: int = 256,
        layers: int = 3,
        hidden: int = 2048,
    ):
        super().__init__()
        self.window = window
        self.fq_pos = nn.Embedding(queries, channels)
        self.query_embed = nn.Embedding(queries, channels)
        if learned_start:
            self.query_feat = nn.Embedding(queries, channels)
        self.enc_self_attn = nn.ModuleList(QuerySelfAttention(channels) for _ in range(layers))
        self.enc_ffn = nn.ModuleList(NormedFeedForward(channels, hidden) for _ in range(layers))
        self.transformer_cross_attention_layers = nn.ModuleList(QueryCrossAttention(channels) for _ in range(layers))
        self.transformer_self_attention_layers = nn.ModuleList(QuerySelfAttention(channels) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(NormedFeedForward(channels, hidden) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Queries of the clip.

        Args:
            x: [B, T, Q, C].
            start: [B, C], the initial queries; None with a learned start.

        Returns:
            [B, Q, C].
        """
        b, frames = x.shape[:2]
        memory = self._encode(x).flatten(1, 2)  # [B, T * Q, C]
        memory_position, position = self.fq_pos.weight.repeat(frames, 1), self.query_embed.weight
        start = self.query_feat.weight[None] if start is None else start[:, None]
        x = start.expand(b, *position.shape)
        for cross, among, forward in zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        ):
            x = forward(among(cross(x, position, memory, memory_position), position))
        return self.decoder_norm(x)

    def _encode(self, x: Tensor) -> Tensor:
        """Queries [B, T, Q, C] to the same, with attention inside windows of frames."""
        b, frames, queries, c = x.shape
        window = self.window or frames
        x = F.pad(x, (0, 0, 0, 0, 0, -frames % window))
        windows = x.shape[1] // window
        straight, shifted = window_masks(frames, window, x.device)
        for i, (among, forward) in enumerate(zip(self.enc_self_attn, self.enc_ffn, strict=True)):
            shift, mask = (0, straight) if i % 2 == 0 or self.window is None else ((window + 1) // 2, shifted)
            mask = mask.repeat_interleave(queries, 1).repeat_interleave(queries, 2)  # [windows, tokens, tokens]
            y = x.roll(shift, 1).reshape(b * windows, window * queries, c)
            y = forward(among(y, mask=mask.repeat(b, 1, 1)[:, None].to(y.dtype)))
            x = y.view(b, windows * window, queries, c).roll(-shift, 1)
        return x[:, :frames]


def window_masks(frames: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Biases of the attention between frames in straight and in shifted windows, each [windows, window, window].

    -1000 masks padding frames in the last window, and pairs of frames that only the shift made neighbours. It is
    finite, so that a padding frame without any other frame yields a number, which is not used, and not NaN.
    """
    valid = torch.arange(-(-frames // window) * window, device=device) < frames
    half = (window + 1) // 2
    straight, shifted = (x.view(-1, 1, window).repeat(1, window, 1) for x in (valid, valid.roll(half)))
    shifted[0, :half, half:] = shifted[0, half:, :half] = False
    return -1000.0 * (~straight).float(), -1000.0 * (~shifted).float()
