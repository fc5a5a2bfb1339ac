"""ReferFormer: queries that start as the sentence, with pixels that read the words at every scale.

Source: Wu et al., "Language as Queries for Referring Video Object Segmentation", CVPR 2022.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from adapters.networks.fpn import CrossModalFPN, Words
from adapters.networks.interface import Text
from adapters.networks.masks import Kernels
from adapters.networks.rvos import CHANNELS, RVOS, Features, Fusion, Levels, Queries, Resizer, masks_of, resize_words


class ReferFormer(RVOS):
    """ReferFormer; see `RVOS` for its arguments."""

    backbones = (
        "resnet50",
        "resnet101",
        "swin_t_p4w7",
        "swin_s_p4w7",
        "swin_b_p4w7",
        "swin_l_p4w7",
        "video_swin_t_p4w7",
        "video_swin_s_p4w7",
        "video_swin_b_p4w7",
    )
    queries, layers, mask_channels = 5, 4, CHANNELS

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "official"):
        super().__init__(backbone, text_encoder, classes, layer)
        self.resizer = Resizer(text_encoder.config.hidden_size)
        self.fusion_module = Fusion()
        self.pixel_decoder = CrossModalFPN(self.backbone[0].channels[0])

    def encode(self, frames: Tensor, frames_per_step: int | None = None, keep: slice = slice(None)) -> Features:
        found = super().encode(frames, frames_per_step, keep)
        fine = self.pixel_decoder.prepare(found.fine, found.fine_size, frames_per_step)
        return dataclasses.replace(found, fine=fine)

    def words(self, text: Text) -> Words:
        return resize_words(text, self.resizer)

    def project_fine(self, x: Tensor) -> Tensor:
        return self.pixel_decoder.adapter_1(x)

    def fuse(self, tokens: Tensor, words: Words) -> Tensor:
        return tokens * self.fusion_module(tokens, words)

    def start(self, features: Features, words: Words) -> Tensor:
        return words.sentence

    def conclude(self, states: Tensor, boxes: Tensor, words: Words) -> Queries:
        state, box = states[:, :, -1], boxes[:, :, -1]
        return Queries(self.class_embed[-1](state), box, box[..., :2], state)

    def masks(
        self, features: Features, levels: Levels, words: Words, kernels: Kernels, centres: Tensor, step: int | None
    ) -> Tensor:
        def head(x: Tensor, rows: Tensor) -> Tensor:
            return masks_of(rows, x, kernels, centres, self.pixel_decoder.mask_features)

        return self.pixel_decoder(features.fine, features.fine_size, levels, words, step, head)
