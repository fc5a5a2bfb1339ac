"""UNINEXT's transformer: a two-stage deformable DINO whose image and words look at each other before it starts.

Tokens of the four levels lie one after the other, [B, S, C]; B counts pairs of a frame and an expression. Padding of
the input takes part as it does in the official code: its positions, and what the words see of it, change the numbers.

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval" (UNINEXT), CVPR 2023; Zhang et
al., "DINO: DETR with Improved DeNoising Anchor Boxes", ICLR 2023; fusion as in Li et al., "GLIP", CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.deformable import DecoderLayer, EncoderLayer, Layers, refine
from rvos_ensemble.adapters.networks.layers import MLP, Size, sine_wave


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a frame lie; the same for all frames of a clip.

    Args:
        sizes: of the four levels.
        padding: bool [1, S], True for the cells of the input's padding; None where there is none.
        share: float [4, 2], how much (x, y) of each level is not padding.
        position: float [S, C], sine embedding of each cell.
        centre: float [S, 2], of each cell (x, y), in 0..1 of the image without its padding.
        box: float [S, 4], the logits of the box that each cell proposes, infinite where it may propose none.
    """

    sizes: list[Size]
    padding: Tensor | None
    share: Tensor
    position: Tensor
    centre: Tensor
    box: Tensor

    @classmethod
    def of(cls, masks: Sequence[Tensor], channels: int) -> Layout:
        """The layout of levels given by masks [h, w], True where there is image."""
        share, position, centre, box = [], [], [], []
        for level, mask in enumerate(masks):
            h, w = mask.shape
            inside = torch.stack([mask[0].sum(), mask[:, 0].sum()]).float()  # cells (x, y) that are not padding
            share.append(inside / torch.tensor([w, h], device=mask.device))
            rows, columns = mask.cumsum(0, dtype=torch.float32), mask.cumsum(1, dtype=torch.float32)
            # In a column of padding every count is 0 and this is -0.5 / 1e-6 * 2 pi; float32 resolves it to 0.25 only,
            # so float64 would change the masks: the convolutions of the mask head carry padding into the image.
            rows = (rows - 0.5) / (rows[-1:] + 1e-6) * (2 * math.pi)
            columns = (columns - 0.5) / (columns[:, -1:] + 1e-6) * (2 * math.pi)
            waves = [sine_wave(rows, channels // 2), sine_wave(columns, channels // 2)]
            position.append(torch.cat(waves, -1).flatten(0, 1))
            y, x = (torch.arange(n, dtype=torch.float32, device=mask.device) + 0.5 for n in (h, w))
            centre.append((torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1) / inside).flatten(0, 1))
            box.append(torch.cat([centre[-1], torch.full_like(centre[-1], 0.05 * 2**level)], -1))
        valid = torch.cat([mask.flatten() for mask in masks])
        boxes = torch.cat(box)
        proposes = valid & ((boxes > 0.01) & (boxes < 0.99)).all(-1)
        boxes = torch.log(boxes / (1 - boxes)).masked_fill(~proposes[:, None], math.inf)
        sizes = [tuple(mask.shape) for mask in masks]
        padding = None if bool(valid.all()) else ~valid[None]
        return cls(sizes, padding, torch.stack(share), torch.cat(position), torch.cat(centre), boxes)


class BiAttention(nn.Module):
    """Image and words look at each other, with one matrix of scores read both ways.

    Words are few and tokens of the image many, so every projection of the image is moved over to the words, whose side
    it meets in a product: (v W) . k = v . (W k), and a weighted sum of projections is the projection of the sum. The
    numbers are the same; for ten words the work is a twentieth of projecting 8,500 tokens to 2048 channels and back.
    """

    def __init__(self, image: int, words: int, inner: int = 2048, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.v_proj = nn.Linear(image, inner)
        self.l_proj = nn.Linear(words, inner)
        self.values_v_proj = nn.Linear(image, inner)
        self.values_l_proj = nn.Linear(words, inner)
        self.out_v_proj = nn.Linear(inner, image)
        self.out_l_proj = nn.Linear(inner, words)

    def forward(self, image: Tensor, words: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, S, C], words [B, L, D], padding of the words [B, L], to what each saw of the other."""

        def of_heads(x: Tensor) -> Tensor:
            return x.unflatten(0, (self.heads, -1))

        key = self.l_proj(words).unflatten(2, (self.heads, -1)) * (self.v_proj.out_features // self.heads) ** -0.5
        seen = torch.einsum("blhd,hdc->bhlc", key, of_heads(self.v_proj.weight)).flatten(1, 2)  # [B, heads * L, C]
        shift = torch.einsum("blhd,hd->bhl", key, of_heads(self.v_proj.bias)).flatten(1)
        score = torch.baddbmm(shift[:, None], image, seen.transpose(1, 2))  # [B, S, heads * L]

        # the words' padding is hidden from the image; the image's padding is not hidden from the words
        share = score.unflatten(2, (self.heads, -1)).masked_fill(padding[:, None, None], -math.inf).softmax(-1)
        value = self.values_l_proj(words).unflatten(2, (self.heads, -1))
        out = self.out_v_proj.weight.unflatten(1, (self.heads, -1))
        value = torch.einsum("blhd,chd->bhlc", value, out).flatten(1, 2)
        to_image = share.flatten(2) @ value + self.out_v_proj.bias

        found = (score.softmax(1).transpose(1, 2) @ image).unflatten(1, (self.heads, -1))  # [B, heads, L, C]
        found = torch.einsum("bhlc,hdc->blhd", found, of_heads(self.values_v_proj.weight))
        to_words = self.out_l_proj(found.flatten(2) + self.values_v_proj.bias)
        return to_image, to_words


class EarlyFusion(nn.Module):
    """Bi-directional attention, added to what was normalised for it."""

    def __init__(self, image: int, words: int, inner: int = 2048, heads: int = 8):
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(image)
        self.layer_norm_l = nn.LayerNorm(words)
        self.attn = BiAttention(image, words, inner, heads)
        self.gamma_v = nn.Parameter(torch.ones(image))
        self.gamma_l = nn.Parameter(torch.ones(words))

    def forward(self, image: Tensor, words: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """As `BiAttention`; the image's tokens come normalised, because that does not depend on the words."""
        words = self.layer_norm_l(words)
        to_image, to_words = self.attn(image, words, padding)
        return image + self.gamma_v * to_image, words + self.gamma_l * to_words


@dataclass(frozen=True)
class Sizes:
    """How wide and deep UNINEXT is; as published, unless said otherwise.

    Args:
        channels: C, of tokens and queries.
        queries: Q, the cells that propose boxes.
        layers: of the decoder.
        encoder_layers: of the encoder; None: as many.
        hidden: channels between the two linear layers of a feed-forward part.
        inner: channels in which image and words look at each other.
        heads, points: of the deformable attention; image and words look at each other with as many heads.
        groups: that the projections of the backbone's maps are normalised in.
        mask_channels: of the map that all masks are drawn from.
    """

    channels: int = 256
    queries: int = 900
    layers: int = 6
    encoder_layers: int | None = None
    hidden: int = 2048
    inner: int = 2048
    heads: int = 8
    points: int = 4
    groups: int = 32
    mask_channels: int = 8


@dataclass(frozen=True)
class DecoderQueries:
    """The queries of B pairs of a frame and an expression after one layer of the decoder.

    Args:
        state: [B, Q, C].
        boxes: [B, Q, 4], (cx, cy, w, h) in 0..1 of the image without its padding.
        centres: [B, Q, 2], of the boxes that the layer started from; masks are drawn relative to them.
    """

    state: Tensor
    boxes: Tensor
    centres: Tensor


@dataclass(frozen=True)
class DinoOutput:
    """What the transformer finds for B pairs of a frame and an expression.

    Args:
        layers: the queries after every layer of the decoder.
        cells: [B, S, C], what the cells of the image are rated by.
        ratings: [B, S], how well each would propose a box.
        tokens: [B, S, C], the image after the encoder.
        sentence: [B, D], mean of the words after fusion.
    """

    layers: list[DecoderQueries]
    cells: Tensor
    ratings: Tensor
    tokens: Tensor
    sentence: Tensor


class DinoTransformer(nn.Module):
    """Fusion with the words, encoder, the best cells as first boxes, decoder that refines them layer by layer."""

    def __init__(self, words: int = 768, sizes: Sizes = Sizes()):
        super().__init__()
        s = sizes
        shape = {"hidden": s.hidden, "heads": s.heads, "points": s.points}
        self.encoder = Layers(lambda: EncoderLayer(s.channels, **shape), s.encoder_layers or s.layers)
        self.encoder.vl_layers = nn.ModuleList([nn.Module()])
        self.encoder.vl_layers[0].b_attn = EarlyFusion(s.channels, words, s.inner, s.heads)
        self.decoder = Layers(lambda: DecoderLayer(s.channels, **shape), s.layers)
        self.decoder.ref_point_head = MLP(2 * s.channels, s.channels, s.channels)
        self.level_embed = nn.Parameter(torch.zeros(4, s.channels))
        self.tgt_embed = nn.Embedding(s.queries, s.channels)
        self.enc_output = nn.Linear(s.channels, s.channels)
        self.enc_output_norm = nn.LayerNorm(s.channels)

    @property
    def fusion(self) -> EarlyFusion:
        """Of image and words, once, before the first layer of the encoder."""
        return self.encoder.vl_layers[0].b_attn

    def forward(
        self,
        tokens: Tensor,
        words: Tensor,
        padding: Tensor,
        layout: Layout,
        rate: Callable[[Tensor], Tensor],
        box_heads: Sequence[MLP],
    ) -> DinoOutput:
        """Queries of frames about expressions.

        Args:
            tokens: [B, S, C], normalised by `fusion.layer_norm_v`.
            words, padding: [B, L, D] and bool [B, L].
            layout: of the tokens.
            rate: scores [B, S, 1] the cells [B, S, C] that propose boxes.
            box_heads: one per layer, then one for the proposals.
        """
        tokens, words = self.fusion(tokens, words, padding)
        tokens = self._encode(tokens, layout)
        there = (~padding).float()[..., None]
        sentence = (words * there).sum(1) / there.sum(1)
        nowhere = ~layout.box[:, :1].isfinite()
        cells = self.enc_output_norm(self.enc_output(tokens.masked_fill(nowhere, 0)))
        ratings = rate(cells)[..., 0]
        # best first: the rank of a cell decides which query it starts
        best = ratings.topk(self.tgt_embed.num_embeddings, 1).indices[..., None]  # [B, Q, 1]
        chosen = cells.gather(1, best.expand(-1, -1, cells.shape[-1]))
        boxes = (box_heads[-1](chosen) + layout.box[best[..., 0]]).sigmoid()

        x = self.tgt_embed.weight.expand(len(tokens), -1, -1)
        share = layout.share.repeat(1, 2)  # of (cx, cy, w, h) at each level
        layers = []
        for layer, head in zip(self.decoder.layers, box_heads, strict=False):
            start = (
                boxes.detach()
            )  # what comes before learns from the boxes only, one layer back ("look forward twice")
            reference = start[:, :, None] * share  # [B, Q, 4, 4]
            waves = sine_wave(reference[:, :, 0, [1, 0, 2, 3]] * (2 * math.pi), x.shape[-1] // 2)  # of (cy, cx, w, h)
            position = self.decoder.ref_point_head(waves.flatten(2))
            x = layer(x, position, reference, tokens, layout.sizes, layout.padding)
            delta = head(x)
            layers.append(DecoderQueries(x, refine(delta, boxes), start[..., :2]))
            boxes = refine(delta, start)
        return DinoOutput(layers, cells, ratings, tokens, sentence)

    def _encode(self, x: Tensor, layout: Layout) -> Tensor:
        count = torch.tensor([h * w for h, w in layout.sizes], device=x.device)
        position = (layout.position + self.level_embed.repeat_interleave(count, 0))[None]
        reference = (layout.centre[:, None] * layout.share)[None]  # [1, S, 4, 2]
        for layer in self.encoder.layers:
            x = layer(x, position, reference, layout.sizes, layout.padding)
        return x
