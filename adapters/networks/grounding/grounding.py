"""Which of a clip's tracklets an expression means: a Transformer over the tracklets of a frame and the words.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061, eq. 4-6. No weights were published, so the parameters have names of our own.

Two options are not in the paper and off by default. `layers=0` leaves out the Transformer: a tracklet is compared with
the mean of the words (the row before it in the paper's Table 3). `points` adds the path of each tracklet to the input,
without which "the one that turns back" cannot be told from its twin.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.grounding.tracklets import PATH, masked_average
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import MLP


class Grounding(nn.Module):
    """Frames, masks of tracklets and words to the probability of every tracklet.

    Args:
        visual: encoder of frames, see `visual.visual_encoder`; its last map is used.
        text_encoder: BERT, or any text encoder of transformers.
        channels: D.
        layers: of the Transformer; 0 for none.
        points: of the tracklets' paths; 0 for none.
        description: of the encoders, if they are not our own, see `description.Description`.
    """

    def __init__(
        self,
        visual: nn.Module,
        text_encoder: nn.Module,
        channels: int,
        layers: int,
        points: int,
        description: Tensor | None = None,
    ):
        super().__init__()
        self.visual = visual
        self.visual_proj = nn.Linear(self.visual.channels[-1], channels)
        self.text_encoder = text_encoder
        self.text_proj = nn.Linear(text_encoder.config.hidden_size, channels)
        self.modality = nn.Embedding(2, channels)  # of tracklets, of words
        self.points = points
        self.path = MLP(PATH * points, channels, channels) if points else None
        layer = nn.TransformerEncoderLayer(channels, heads_of(channels), 4 * channels, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False) if layers else None
        self.head = MLP(channels, channels, 1)
        self.register_buffer("description", description)  # None leaves it out of the checkpoint

    def train(self, mode: bool = True) -> Grounding:
        """Training mode, except for encoders whose weights are all frozen."""
        super().train(mode)
        for encoder in (self.visual, self.text_encoder):
            if not any(weight.requires_grad for weight in encoder.parameters()):
                encoder.eval()
        return self

    def map_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the visual encoder's map for frames of size (H, W)."""
        return -(-size[0] // self.visual.stride), -(-size[1] // self.visual.stride)

    def pool(self, frames: Tensor, masks: Tensor) -> Tensor:
        """The mean feature inside each tracklet's mask (eq. 4), 0 before the projection for an empty mask.

        Args:
            frames: normalised, [T, 3, H, W].
            masks: [T, P, h, w] at `map_size`, the share of each cell that the tracklet covers.

        Returns:
            [T, P, D].
        """
        features = self.visual(frames)[-1]  # [T, C, h, w]
        return self.visual_proj(masked_average(features, masks))

    def words(self, rows: Sequence[Sequence[int]], language: text.Language) -> Text:
        """The words of E expressions, [E, L, D], from their token numbers."""
        words = text.encode(self.text_encoder, language, rows)
        return Text(self.text_proj(words.states), words.padding)

    def forward(self, objects: Tensor, words: Text, paths: Tensor, step: int | None = None) -> Tensor:
        """How well every tracklet fits every expression, frame by frame (eq. 5, and eq. 6 before its softmax).

        Args:
            objects: [T, P, D] from `pool`.
            words: of E expressions.
            paths: [P, points, 4] from `paths_of`; zeros mean that they are not known.
            step: frames per forward pass; None for all.

        Returns:
            Logits [E, T, P]; the softmax over P is the probability in a frame, its mean over T that in the clip.
        """
        objects = objects + self.modality.weight[0]
        if self.path is not None:
            objects = objects + self.path(paths.flatten(1))
        states = words.states + self.modality.weight[1]
        parts = objects.split(step or len(objects))
        return torch.cat([self._logits(part, states, words.padding) for part in parts], 1)

    def _logits(self, objects: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        """Objects [T, P, D], words [E, L, D] and their padding [E, L] to logits [E, T, P]."""
        (t, p, _), e = objects.shape, len(words)
        objects = objects.expand(e, -1, -1, -1)  # [E, T, P, D]
        if self.encoder is None:
            valid = (~padding)[..., None].to(words.dtype)
            sentence = (words * valid).sum(1) / valid.sum(1)  # [E, D]
            return self.head(objects + sentence[:, None, None]).squeeze(-1)
        tokens = torch.cat([objects, words[:, None].expand(-1, t, -1, -1)], 2).flatten(0, 1)  # [E T, P + L, D]
        hidden = torch.cat([padding.new_zeros(e, p), padding], 1)  # every tracklet is valid
        tokens = self.encoder(tokens, src_key_padding_mask=hidden.repeat_interleave(t, 0))
        return self.head(tokens[:, :p]).view(e, t, p)


def heads_of(channels: int) -> int:
    """Number of attention heads for a width: one per 64 channels, at least 4.

    >>> heads_of(768), heads_of(64)
    (12, 4)
    """
    return max(4, channels // 64)
