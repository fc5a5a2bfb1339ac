"""MUTR: ReferFormer with attention from the words to the clip, and with queries of the whole clip.

Source: Yan et al., "Referred by Multi-Modality: A Unified Temporal Transformer for Video Object Segmentation", AAAI
2024.
"""

from __future__ import annotations

from torch import Tensor, nn

from rvos_ensemble.adapters.networks.deformable import Layers
from rvos_ensemble.adapters.networks.fpn import WordFeatures
from rvos_ensemble.adapters.networks.layers import Attention, FeedForward
from rvos_ensemble.adapters.networks.rvos.parts import ClipFeatures, QueryOutputs
from rvos_ensemble.adapters.networks.rvos.referformer import ReferFormer
from rvos_ensemble.adapters.networks.rvos.temporal import Temporal


class WordsToFrames(FeedForward):
    """Attention from the words to one level of all frames (MTA)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__(channels, hidden)
        self.multihead_attn = Attention(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, words: Tensor, position: Tensor, vision: Tensor) -> Tensor:
        """Words [E, L, C], vision [1 or E, T * h * w, C], to words."""
        words = self.norm1(words + self.multihead_attn(words + position, vision, vision))
        return self.norm2(words + self.feed_forward(words))


class MUTR(ReferFormer):
    """MUTR; see `RVOS` for its arguments. Its class scores are those of the clip: it has none per frame."""

    backbones = (
        "resnet50",
        "resnet101",
        "swin_l_p4w7",
        "video_swin_t_p4w7",
        "video_swin_s_p4w7",
        "video_swin_b_p4w7",
        "convnext_large",
        "convmae_base",
        "resnet_nano",
        "video_swin_nano",
    )
    per_frame_scores = False
    answers_first = True

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "auto"):
        super().__init__(backbone, text_encoder, classes, layer)
        g = self.geometry
        self.MTA = Layers(lambda: WordsToFrames(g.width, g.hidden), 1)
        self.mti = Temporal(g.queries, 4, True, g.width, g.temporal, g.hidden)

    def fuse(self, tokens: Tensor, words: WordFeatures) -> Tensor:
        """See `RVOS.fuse`."""
        return tokens + self.fusion_module(tokens, words)

    def start(self, features: ClipFeatures, words: WordFeatures) -> Tensor:
        """See `RVOS.start`."""
        states = words.states
        for level in features.tokens.split([h * w for h, w in features.sizes], 1):
            clips = level.unflatten(0, (features.clips, -1)).flatten(1, 2)  # [clips, T * h * w, C]
            if features.clips > 1:
                clips = clips.repeat_interleave(len(states) // features.clips, 0)
            states = self.MTA.layers[0](states, words.position, clips)
        return states[:, 0]  # the first token represents the sentence

    def conclude(self, states: Tensor, boxes: Tensor, words: WordFeatures, head: int, last: int) -> QueryOutputs:
        """See `RVOS.conclude`.

        The released code keeps only the last layer's queries in evaluation and then indexes the heads by position: the
        queries of the clip come from the last layer, class head and boxes from the first.
        """
        clip = self.mti(states[:, :, last])  # [E, Q, C]
        clip = clip[:, None].expand(-1, states.shape[1], -1, -1)
        box = boxes[:, :, head]
        return QueryOutputs(self.class_embed[head](clip), box, box[..., :2], clip)
