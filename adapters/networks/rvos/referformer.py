"""ReferFormer: queries are initialised with the sentence, and the pixel decoder attends to the words at every scale.

Source: Wu et al., "Language as Queries for Referring Video Object Segmentation", CVPR 2022.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.dynamic_masks import Kernels
from rvos_ensemble.adapters.networks.fpn import CrossModalFPN, WordFeatures
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.rvos.parts import (
    ClipFeatures,
    Geometry,
    Levels,
    QueryOutputs,
    Resizer,
    WordFusion,
    masks_of,
    resize_words,
)
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS


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
        "resnet_nano",
        "video_swin_nano",
    )
    published = Geometry(queries=5, layers=4, encoder_layers=4)

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "auto"):
        super().__init__(backbone, text_encoder, classes, layer)
        g = self.geometry
        self.resizer = Resizer(text_encoder.config.hidden_size, g.width)
        self.fusion_module = WordFusion(g.width)
        self.pixel_decoder = CrossModalFPN(self.backbone[0].channels[0], g.width, g.hidden)

    def encode(
        self, frames: Tensor, frames_per_step: int | None = None, keep: slice = slice(None), clips: int = 1
    ) -> ClipFeatures:
        """See `RVOS.encode`."""
        features = super().encode(frames, frames_per_step, keep, clips)
        fine = self.pixel_decoder.prepare(features.fine, features.fine_size, frames_per_step, clips)
        return dataclasses.replace(features, fine=fine)

    def words(self, text: Text) -> WordFeatures:
        """See `RVOS.words`."""
        return resize_words(text, self.resizer)

    def project_fine(self, x: Tensor) -> Tensor:
        """See `RVOS.project_fine`."""
        return self.pixel_decoder.adapter_1(x)

    def fuse(self, tokens: Tensor, words: WordFeatures) -> Tensor:
        """See `RVOS.fuse`."""
        return tokens * self.fusion_module(tokens, words)

    def start(self, features: ClipFeatures, words: WordFeatures) -> Tensor:
        """See `RVOS.start`."""
        return words.sentence

    def conclude(self, states: Tensor, boxes: Tensor, words: WordFeatures, head: int, last: int) -> QueryOutputs:
        """See `RVOS.conclude`."""
        state, box = states[:, :, head], boxes[:, :, head]
        return QueryOutputs(self.class_embed[head](state), box, box[..., :2], state)

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

        def head(x: Tensor, rows: Tensor) -> Tensor:
            return masks_of(rows, x, kernels, centres, self.pixel_decoder.mask_features)

        rows = features.rows(words)
        return self.pixel_decoder(features.fine, rows, features.fine_size, levels, words, step, head)

    def pixels(self, features: ClipFeatures, levels: Levels, words: WordFeatures) -> Tensor:
        """See `RVOS.pixels`."""

        def head(x: Tensor, _rows: Tensor) -> Tensor:
            return self.pixel_decoder.mask_features(x)

        rows = features.rows(words)
        return self.pixel_decoder(features.fine, rows, features.fine_size, levels, words, None, head)
