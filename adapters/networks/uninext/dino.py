"""UNINEXT's transformer: a two-stage deformable DINO, preceded by an early fusion of image and words.

The tokens of the four levels are concatenated, [B, S, C]; B counts pairs of a frame and an expression. Padding of the
input takes part as in the official code: its positions, and the attention of the words to it, change the numbers.

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval" (UNINEXT), CVPR 2023; Zhang et
al., "DINO: DETR with Improved DeNoising Anchor Boxes", ICLR 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.deformable import DecoderLayer, EncoderLayer, Layers, refine
from rvos_ensemble.adapters.networks.layers import MLP, sine_wave
from rvos_ensemble.adapters.networks.uninext.early_fusion import EarlyFusion
from rvos_ensemble.adapters.networks.uninext.layout import Layout


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of UNINEXT; the defaults are the published values.

    Args:
        channels: C, of tokens and queries.
        queries: Q, the cells that propose boxes.
        layers: of the decoder.
        encoder_layers: of the encoder; None: as many as in the decoder.
        hidden: channels between the two linear layers of a feed-forward part.
        inner: channels of the attention between image and words.
        heads, points: of the deformable attention; the attention between image and words has as many heads.
        groups: of the group norms after the projections of the backbone's maps.
        mask_channels: of the map from which all masks are computed.
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
        centres: [B, Q, 2], of the boxes at the input of the layer; masks are computed relative to them.
    """

    state: Tensor
    boxes: Tensor
    centres: Tensor


@dataclass(frozen=True)
class DinoOutput:
    """Output of the transformer for B pairs of a frame and an expression.

    Args:
        layers: the queries after every layer of the decoder.
        cells: [B, S, C], features by which the cells of the image are rated.
        ratings: [B, S], logits of each cell as the proposal of a box.
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
        """The fusion of image and words, applied once before the first layer of the encoder."""
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
        """Decodes queries for pairs of a frame and an expression.

        Args:
            tokens: [B, S, C], normalised by `fusion.layer_norm_v`.
            words, padding: [B, L, D] and bool [B, L].
            layout: of the tokens.
            rate: cells [B, S, C] to logits [B, S, 1], which decide what cells propose boxes.
            box_heads: one per layer, then one for the proposals.
        """
        tokens, words = self.fusion(tokens, words, padding)
        tokens = self._encode(tokens, layout)
        valid = (~padding).float()[..., None]
        sentence = (words * valid).sum(1) / valid.sum(1)  # [B, D]
        no_proposal = ~layout.box[:, :1].isfinite()
        cells = self.enc_output_norm(self.enc_output(tokens.masked_fill(no_proposal, 0)))
        ratings = rate(cells)[..., 0]
        # best first: the rank of a cell decides which query it starts
        best = ratings.topk(self.tgt_embed.num_embeddings, 1).indices[..., None]  # [B, Q, 1]
        chosen = cells.gather(1, best.expand(-1, -1, cells.shape[-1]))
        boxes = (box_heads[-1](chosen) + layout.box[best[..., 0]]).sigmoid()

        x = self.tgt_embed.weight.expand(len(tokens), -1, -1)
        share = layout.share.repeat(1, 2)  # of (cx, cy, w, h) at each level
        layers = []
        for layer, head in zip(self.decoder.layers, box_heads, strict=False):
            # gradients reach earlier layers through the boxes of one layer only ("look forward twice")
            start = boxes.detach()
            reference = start[:, :, None] * share  # [B, Q, 4, 4]
            waves = sine_wave(reference[:, :, 0, [1, 0, 2, 3]] * (2 * math.pi), x.shape[-1] // 2)  # of (cy, cx, w, h)
            position = self.decoder.ref_point_head(waves.flatten(2))
            x = layer(x, position, reference, tokens, layout.sizes, layout.padding)
            delta = head(x)
            layers.append(DecoderQueries(x, refine(delta, boxes), start[..., :2]))
            boxes = refine(delta, start)
        return DinoOutput(layers, cells, ratings, tokens, sentence)

    def _encode(self, x: Tensor, layout: Layout) -> Tensor:
        """Tokens [B, S, C] through the encoder."""
        count = torch.tensor([h * w for h, w in layout.sizes], device=x.device)
        position = (layout.position + self.level_embed.repeat_interleave(count, 0))[None]
        reference = (layout.centre[:, None] * layout.share)[None]  # [1, S, 4, 2]
        for layer in self.encoder.layers:
            x = layer(x, position, reference, layout.sizes, layout.padding)
        return x
