"""UNINEXT's early fusion of image and words, before the transformer's first layer, as in GLIP.

Source: Li et al., "Grounded Language-Image Pre-training" (GLIP), CVPR 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class BiAttention(nn.Module):
    """Attention from the image to the words and back, with one score matrix for both directions.

    An image has many more tokens than a sentence has words, so every projection of the image is applied to the words
    instead: (v W) . k = v . (W k), and a weighted sum of projections is the projection of the sum. The results are the
    same; for ten words it takes a twentieth of the work of projecting 8,500 tokens to 2048 channels and back.
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
        """Tokens [B, S, C], words [B, L, D] and their padding [B, L] to updates [B, S, C] and [B, L, D]."""

        def of_heads(x: Tensor) -> Tensor:
            return x.unflatten(0, (self.heads, -1))

        key = self.l_proj(words).unflatten(2, (self.heads, -1)) * (self.v_proj.out_features // self.heads) ** -0.5
        seen = torch.einsum("blhd,hdc->bhlc", key, of_heads(self.v_proj.weight)).flatten(1, 2)  # [B, heads * L, C]
        shift = torch.einsum("blhd,hd->bhl", key, of_heads(self.v_proj.bias)).flatten(1)
        score = torch.baddbmm(shift[:, None], image, seen.transpose(1, 2))  # [B, S, heads * L]

        # the words' padding is masked for the image; the image's padding is not masked for the words
        share = score.unflatten(2, (self.heads, -1)).masked_fill(padding[:, None, None], -math.inf).softmax(-1)
        value = self.values_l_proj(words).unflatten(2, (self.heads, -1))
        out = self.out_v_proj.weight.unflatten(1, (self.heads, -1))
        value = torch.einsum("blhd,chd->bhlc", value, out).flatten(1, 2)
        to_image = share.flatten(2) @ value + self.out_v_proj.bias

        attended = (score.softmax(1).transpose(1, 2) @ image).unflatten(1, (self.heads, -1))  # [B, heads, L, C]
        attended = torch.einsum("bhlc,hdc->blhd", attended, of_heads(self.values_v_proj.weight))
        to_words = self.out_l_proj(attended.flatten(2) + self.values_v_proj.bias)
        return to_image, to_words


class EarlyFusion(nn.Module):
    """Bi-directional attention with layer norms before it and scaled residual connections."""

    def __init__(self, image: int, words: int, inner: int = 2048, heads: int = 8):
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(image)
        self.layer_norm_l = nn.LayerNorm(words)
        self.attn = BiAttention(image, words, inner, heads)
        self.gamma_v = nn.Parameter(torch.ones(image))
        self.gamma_l = nn.Parameter(torch.ones(words))

    def forward(self, image: Tensor, words: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """As `BiAttention`; the tokens of the image are normalised already, since that does not depend on the words."""
        words = self.layer_norm_l(words)
        to_image, to_words = self.attn(image, words, padding)
        return image + self.gamma_v * to_image, words + self.gamma_l * to_words
