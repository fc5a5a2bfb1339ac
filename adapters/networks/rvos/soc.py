"""SOC: the queries of all frames are aggregated into queries of the whole clip, initialised with the sentence.

Source: Luo et al., "SOC: Semantic-Assisted Object Cluster for Referring Video Object Segmentation", NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.deformable import refine
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels
from rvos_ensemble.adapters.networks.fpn import SpatialFPN, WordFeatures
from rvos_ensemble.adapters.networks.interface import Text, in_steps
from rvos_ensemble.adapters.networks.layers import to_map
from rvos_ensemble.adapters.networks.rvos.parts import (
    ClipFeatures,
    Geometry,
    Levels,
    QueryOutputs,
    Resizer,
    WordFusion,
    level_maps,
    masks_of,
    resize_words,
)
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.networks.rvos.temporal import Temporal


class SOC(RVOS):
    """SOC; see `RVOS` for its arguments."""

    backbones = ("video_swin_t_p4w7", "video_swin_b_p4w7", "resnet50", "resnet_nano", "video_swin_nano")
    published = Geometry(queries=20, layers=3, encoder_layers=3, mask_channels=8)
    nano = replace(RVOS.nano, mask_channels=8)
    answers_first = True

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "auto"):
        super().__init__(backbone, text_encoder, classes, layer)
        g = self.geometry
        self.txt_proj = Resizer(text_encoder.config.hidden_size, g.width)
        self.vlf = WordFusion(g.width)
        self.lvf = WordFusion(g.width)  # only used by a loss in training, but part of the checkpoints
        self.voc = Temporal(g.queries, None, False, g.width, g.temporal, g.hidden)
        self.spatial_decoder = SpatialFPN(self.backbone[0].channels[0], g.mask_channels, g.width)

    def words(self, text: Text) -> WordFeatures:
        """See `RVOS.words`."""
        return resize_words(text, self.txt_proj)

    def project_fine(self, x: Tensor) -> Tensor:
        """See `RVOS.project_fine`."""
        return self.spatial_decoder.adapter3(x)

    def fuse(self, tokens: Tensor, words: WordFeatures) -> Tensor:
        """See `RVOS.fuse`."""
        return tokens * self.vlf(tokens, words)

    def start(self, features: ClipFeatures, words: WordFeatures) -> Tensor:
        """See `RVOS.start`."""
        return torch.zeros_like(words.sentence)

    def conclude(self, states: Tensor, boxes: Tensor, words: WordFeatures, head: int, last: int) -> QueryOutputs:
        """See `RVOS.conclude`.

        In evaluation the released code adds the queries of the clip to those of the first layer only, and uses the
        heads of that layer.
        """
        clip = self.voc(states[:, :, last], words.sentence)[:, None]  # [E, 1, Q, C]
        state = states[:, :, head] + clip
        before = boxes[:, :, head - 1] if head else self.transformer.first_reference(self.query_embed.weight)
        box = refine(self.bbox_embed[head](state), before)
        return QueryOutputs(self.class_embed[head](state), box, boxes[:, :, head, :, :2], state)

    def masks(
        self,
        features: ClipFeatures,
        levels: Levels,
        words: WordFeatures,
        kernels: Kernels,
        centres: Tensor,
        step: int | None,
    ) -> Tensor:
        """See `RVOS.masks`."""
        frame = features.rows(words)

        def run(rows: Tensor) -> Tensor:
            fine = to_map(features.fine[frame[rows]], features.fine_size)
            x = self.spatial_decoder(fine, level_maps(levels, rows))
            return masks_of(rows, x, kernels, centres)

        return in_steps(run, step, torch.arange(len(centres), device=centres.device))

    def pixels(self, features: ClipFeatures, levels: Levels, words: WordFeatures) -> Tensor:
        """See `RVOS.pixels`."""
        fine = to_map(features.fine[features.rows(words)], features.fine_size)
        return self.spatial_decoder(fine, [to_map(x, size) for x, size in levels])
