"""The object memory of Cutie: what the pixels of a memory frame say about the object and about its background."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.layers import to_tokens
from rvos_ensemble.propagators.networks.cutie.blocks import in_float32, shrink
from rvos_ensemble.propagators.networks.cutie.position import PixelPosition
from rvos_ensemble.propagators.networks.cutie.sizes import CutieSizes


class ObjectSummarizer(nn.Module):
    """Pools the values of a memory frame into Q summaries: half of them over the object, half over the background.

    Source: sec. 3.4 of the paper.
    """

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        e = sizes.embed
        self.queries = sizes.queries
        self.pos_enc = PixelPosition(e)
        self.input_proj = nn.Linear(sizes.value, e)
        self.feature_pred = nn.Sequential(nn.Linear(e, e), nn.ReLU(), nn.Linear(e, e))
        self.weights_pred = nn.Sequential(nn.Linear(e, e), nn.ReLU(), nn.Linear(e, sizes.queries))

    def forward(self, masks: Tensor, values: Tensor) -> Tensor:
        """Summaries of one memory frame.

        Args:
            masks: probabilities [B, 1, H, W].
            values: of the pixel memory, [B, V, h, w].

        Returns:
            float32 [B, Q, E + 1]: weighted sums of features and, last, the sums of the weights. Sums of several memory
            frames are the summary of all of them.
        """
        size = tuple(values.shape[-2:])
        inside = to_tokens(shrink(masks, 16))  # [B, N, 1]
        share = torch.cat([inside, 1 - inside], 2).repeat_interleave(self.queries // 2, 2)  # [B, N, Q]
        x = self.input_proj(to_tokens(values)) + self.pos_enc(size)
        with in_float32(x):
            x = x.float()
            weights = self.weights_pred(x).sigmoid() * share  # [B, N, Q]
            sums = weights.transpose(1, 2) @ self.feature_pred(x)  # [B, Q, E]
            return torch.cat([sums, weights.sum(1)[..., None]], 2)
