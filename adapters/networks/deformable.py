"""Multi-scale deformable attention in plain PyTorch, and the transformer made of it.

The tokens of several levels are concatenated, [B, S, C] with S = sum of h * w; `sizes` holds (h, w) of each level.
Coordinates are (x, y) in 0..1 of the image. Batches are not padded to a common size here, so valid ratios are 1 unless
the caller folds them into the references per level.

Source: Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import (
    MLP,
    Attention,
    FeedForward,
    Size,
    heads_of,
    inverse_sigmoid,
    sine_map,
)


class DeformableAttention(nn.Module):
    """Each query samples a few points per level and head around its reference and sums them with learned weights."""

    def __init__(self, channels: int = 256, levels: int = 4, heads: int | None = None, points: int = 4):
        super().__init__()
        heads = heads or heads_of(channels)
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(
        self, query: Tensor, reference: Tensor, tokens: Tensor, sizes: Sequence[Size], padding: Tensor | None = None
    ) -> Tensor:
        """Samples the tokens for the queries.

        Args:
            query: [B, N, C].
            reference: points (x, y) or boxes (cx, cy, w, h), in 0..1: [B, N, 2 or 4], or [B, N, levels, 2 or 4].
            tokens: [B, S, C], from which is sampled.
            sizes: of its levels.
            padding: bool [B, S], True for tokens that count as zero; or None.

        Returns:
            [B, N, C].
        """
        shape = (*query.shape[:2], self.heads, self.levels, self.points)
        value = self.value_proj(tokens)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0)
        offset = self.sampling_offsets(query).view(*shape, 2).float()
        weight = self.attention_weights(query).view(*shape[:3], -1).softmax(-1).view(shape)
        if reference.dim() == 3:
            reference = reference[:, :, None]
        reference = reference[:, :, None, :, None].float()  # [B, N, 1, levels or 1, 1, 2 or 4]
        scale = torch.tensor([(w, h) for h, w in sizes], dtype=torch.float32, device=query.device)[:, None]
        if reference.shape[-1] == 2:  # offsets are in cells of the level
            place = reference * scale + offset
        else:  # offsets are in shares of half the box
            place = (reference[..., :2] + offset * reference[..., 2:] * (0.5 / self.points)) * scale
        return self.output_proj(sample(value.unflatten(2, (self.heads, -1)), place, weight, sizes))


def sample(value: Tensor, place: Tensor, weight: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Weighted sums of bilinear samples, with zeros outside of the levels.

    The four neighbours of a sample are four rows of one table, so that a single `embedding_bag` reads whole rows and
    sums them, whereas `grid_sample` reads channel by channel and stores every sample (5 times as slow on a CPU).

    Args:
        value: [B, S, heads, d], tokens of all levels.
        place: float32 [B, N, heads, levels, points, 2], (x, y) in cells; the first cell's centre is at 0.5.
        weight: [B, N, heads, levels, points].
        sizes: of the levels.

    Returns:
        [B, N, heads * d].
    """
    if torch.is_grad_enabled() and value.requires_grad:
        return _sample_for_training(value, place, weight, sizes)
    b, _, heads, d = value.shape
    device = value.device
    # A border of zeros around each level, to which points further out are moved. It is two cells wide on the far side,
    # because the neighbour beyond is read as well (with weight 0).
    parts, rows, starts = [], [], [0]
    for (h, w), level in zip(sizes, value.split([h * w for h, w in sizes], 1), strict=True):
        parts.append(F.pad(level.reshape(b, h, w, -1), (0, 0, 1, 2, 1, 2)).flatten(1, 2))
        rows.append(w + 3)
        starts.append(starts[-1] + (h + 3) * (w + 3))
    table = torch.cat(parts, 1)  # [B, S', heads * d]
    limit = torch.tensor([(w, h) for h, w in sizes], dtype=torch.float32, device=device)[:, None]
    place = torch.minimum((place - 0.5).clamp_(min=-1), limit).nan_to_num_(-1)  # NaN would index no row
    corner = place.floor()
    x1, y1 = (place - corner).unbind(-1)  # [B, N, heads, levels, points]
    down, across = weight * y1, 1 - x1
    up = weight - down
    share = torch.stack([up * across, up * x1, down * across, down * x1], -1)

    row = torch.tensor(rows, dtype=torch.int32, device=device)[:, None]
    start = torch.tensor(starts[:-1], dtype=torch.int32, device=device)[:, None] + row + 1  # of the cell (0, 0)
    cell = corner.to(torch.int32)
    index = cell[..., 1] * row + cell[..., 0] + start
    first = torch.arange(b, dtype=torch.int32, device=device).view(-1, 1, 1, 1, 1) * starts[-1]
    head = torch.arange(heads, dtype=torch.int32, device=device).view(-1, 1, 1)
    index = (index + first) * heads + head
    step = torch.stack([row * 0, row * 0 + 1, row, row + 1], -1) * heads  # [levels, 1, 4]
    bags = b * place.shape[1] * heads
    sums = F.embedding_bag(
        (index[..., None] + step).view(bags, -1),
        table.view(-1, d),
        per_sample_weights=share.to(value.dtype).view(bags, -1),
        mode="sum",
    )
    return sums.view(b, -1, heads * d)


def _sample_for_training(value: Tensor, place: Tensor, weight: Tensor, sizes: Sequence[Size]) -> Tensor:
    """As `sample`, but level by level with `grid_sample`, whose backward pass is two to three times as fast."""
    b, _, heads, d = value.shape
    total = 0.0
    for i, ((h, w), level) in enumerate(zip(sizes, value.split([h * w for h, w in sizes], 1), strict=True)):
        maps = level.permute(0, 2, 3, 1).reshape(b * heads, d, h, w)
        grid = place[:, :, :, i].transpose(1, 2).flatten(0, 1)  # [B * heads, N, points, 2]
        grid = grid * torch.tensor([2 / w, 2 / h], device=grid.device) - 1
        samples = F.grid_sample(maps, grid.to(maps.dtype), align_corners=False)  # [B * heads, d, N, points]
        share = weight[:, :, :, i].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (samples * share).sum(-1)
    return total.view(b, heads, d, -1).permute(0, 3, 1, 2).flatten(2)


class EncoderLayer(FeedForward):
    """Deformable self-attention among the tokens of the image."""

    def __init__(
        self, channels: int = 256, hidden: int = 2048, levels: int = 4, heads: int | None = None, points: int = 4
    ):
        super().__init__(channels, hidden)
        self.self_attn = DeformableAttention(channels, levels, heads, points)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, x, position, reference, sizes, padding=None) -> Tensor:
        """Tokens [B, S, C], position [., S, C], references [., S, (levels,) 2] to tokens [B, S, C]."""
        x = self.norm1(x + self.self_attn(x + position, reference, x, sizes, padding))
        return self.norm2(x + self.feed_forward(x))


class DecoderLayer(FeedForward):
    """Self-attention among the queries, then deformable attention to the image."""

    def __init__(
        self, channels: int = 256, hidden: int = 2048, levels: int = 4, heads: int | None = None, points: int = 4
    ):
        super().__init__(channels, hidden)
        self.cross_attn = DeformableAttention(channels, levels, heads, points)
        self.self_attn = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)  # used after the attention to the image, which comes second
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x, position, reference, tokens, sizes, padding=None) -> Tensor:
        """Queries [B, Q, C], position [., Q, C], references [B, Q, (levels,) 2 or 4] to queries [B, Q, C]."""
        x = self.norm2(x + self.self_attn(x + position, x + position, x))
        x = self.norm1(x + self.cross_attn(x + position, reference, tokens, sizes, padding))
        return self.norm3(x + self.feed_forward(x))


class Layers(nn.Module):
    """A stack of equal layers, with the parameter name `layers`."""

    def __init__(self, make: Callable[[], nn.Module], count: int):
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(count))


def cell_centres(sizes: Sequence[Size], device: torch.device) -> Tensor:
    """The centres (x, y) of the cells of all levels in 0..1, [S, 2]."""
    centres = []
    for h, w in sizes:
        y, x = ((torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n for n in (h, w))
        centres.append(torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1).flatten(0, 1))
    return torch.cat(centres)


def refine(delta: Tensor, reference: Tensor) -> Tensor:
    """The box in 0..1 that a box head's output [..., 4] makes of a reference [..., 2 or 4]."""
    base = inverse_sigmoid(reference)
    return (delta.float() + F.pad(base, (0, 4 - base.shape[-1]))).sigmoid()


class DeformableTransformer(nn.Module):
    """An encoder over the levels of a frame, and a decoder over its queries that refines boxes layer by layer."""

    def __init__(
        self,
        layers: int,
        channels: int = 256,
        levels: int = 4,
        hidden: int = 2048,
        points: int = 4,
        encoder_layers: int | None = None,
    ):
        super().__init__()
        shape = {"hidden": hidden, "levels": levels, "points": points}
        self.encoder = Layers(lambda: EncoderLayer(channels, **shape), encoder_layers or layers)
        self.decoder = Layers(lambda: DecoderLayer(channels, **shape), layers)
        self.level_embed = nn.Parameter(torch.zeros(levels, channels))
        self.reference_points = nn.Linear(channels, 2)

    def encode(self, x: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Tokens [B, S, C] to tokens [B, S, C]."""
        waves = [sine_map(size, x.shape[2], x.device) for size in sizes]
        position = torch.cat([w + e for w, e in zip(waves, self.level_embed, strict=True)])[None]
        reference = cell_centres(sizes, x.device)[None]
        for layer in self.encoder.layers:
            x = layer(x, position, reference, sizes)
        return x

    def first_reference(self, position: Tensor) -> Tensor:
        """The first reference points [Q, 2] of queries with these embeddings [Q, C]."""
        return self.reference_points(position).float().sigmoid()

    def decode(
        self, x: Tensor, position: Tensor, tokens: Tensor, sizes: Sequence[Size], box_heads: Sequence[MLP]
    ) -> tuple[Tensor, Tensor]:
        """Queries [B, Q, C] with position embeddings [Q, C] after each of L layers.

        Returns:
            The queries [B, L, Q, C] and their boxes [B, L, Q, 4].
        """
        reference = self.first_reference(position).expand(len(x), -1, -1)
        states, boxes = [], []
        for layer, head in zip(self.decoder.layers, box_heads, strict=True):
            x = layer(x, position, reference, tokens, sizes)
            reference = refine(head(x), reference)
            states.append(x)
            boxes.append(reference)
        return torch.stack(states, 1), torch.stack(boxes, 1)
