"""SOC: queries of the frames gathered into queries of the whole clip, which start as the sentence.

Source: Luo et al., "SOC: Semantic-Assisted Object Cluster for Referring Video Object Segmentation", NeurIPS 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapters.networks.deformable import refine
from adapters.networks.fpn import SpatialFPN, Words
from adapters.networks.interface import Text, in_steps
from adapters.networks.layers import to_map
from adapters.networks.masks import Kernels
from adapters.networks.rvos import RVOS, Features, Fusion, Levels, Queries, Resizer, level_maps, masks_of, resize_words
from adapters.networks.temporal import Temporal


class SOC(RVOS):
    """SOC; see `RVOS` for its arguments."""

    backbones = ("video_swin_t_p4w7", "video_swin_b_p4w7", "resnet50")
    queries, layers, mask_channels = 20, 3, 8

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "official"):
        super().__init__(backbone, text_encoder, classes, layer)
        self.txt_proj = Resizer(text_encoder.config.hidden_size)
        self.vlf = Fusion()
        self.lvf = Fusion()  # serves a loss in training; the checkpoints hold it
        self.voc = Temporal(self.queries, window=None, learned_start=False)
        self.spatial_decoder = SpatialFPN(self.backbone[0].channels[0], self.mask_channels)

    def words(self, text: Text) -> Words:
        return resize_words(text, self.txt_proj)

    def project_fine(self, x: Tensor) -> Tensor:
        return self.spatial_decoder.adapter3(x)

    def fuse(self, tokens: Tensor, words: Words) -> Tensor:
        return tokens * self.vlf(tokens, words)

    def start(self, features: Features, words: Words) -> Tensor:
        return torch.zeros_like(words.sentence)

    def conclude(self, states: Tensor, boxes: Tensor, words: Words) -> Queries:
        """The released code, in evaluation, joins the queries of the clip with those of the first layer alone, and
        answers with the heads of that layer."""
        clip = self.voc(states[:, :, -1], words.sentence)[:, None]  # [E, 1, Q, C]
        i = 0 if self.layer == "official" else self.layers - 1
        state = states[:, :, i] + clip
        before = boxes[:, :, i - 1] if i else self.transformer.first_reference(self.query_embed.weight)
        box = refine(self.bbox_embed[i](state), before)
        return Queries(self.class_embed[i](state), box, boxes[:, :, i, :, :2], state)

    def masks(
        self, features: Features, levels: Levels, words: Words, kernels: Kernels, centres: Tensor, step: int | None
    ) -> Tensor:
        def run(rows: Tensor) -> Tensor:
            fine = to_map(features.fine[rows % len(features)], features.fine_size)
            x = self.spatial_decoder(fine, level_maps(levels, rows))
            return masks_of(rows, x, kernels, centres)

        return in_steps(run, step, torch.arange(len(centres), device=centres.device))
