"""The networks CFBI and CFBI+, split into what depends on the image alone and what each sequence adds.

A sequence is one object and its background, which are propagated as two objects that compete for pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import fold_batch_norm
from rvos_ensemble.propagators.networks.cfbi.deeplab import DeepLab
from rvos_ensemble.propagators.networks.cfbi.ensembler import Ensembler
from rvos_ensemble.propagators.networks.cfbi.matching import (
    LocalMatcher,
    local_distances,
    local_matcher,
    nearest_reference,
    squashed,
)
from rvos_ensemble.propagators.networks.cfbi.mixture import Mixture
from rvos_ensemble.propagators.networks.cfbi.references import References, means_of
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes, Level, matching_maps


@dataclass
class CFBIFeatures:
    """The features of a frame, which do not depend on masks.

    Attributes:
        embeddings: [C, h, w] at each level.
        low: [low, h, w], the backbone's map at stride 4.
    """

    embeddings: tuple[Tensor, ...]
    low: Tensor

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(h, w) of each level."""
        return [tuple(x.shape[-2:]) for x in self.embeddings]

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return self.low.nbytes + sum(x.nbytes for x in self.embeddings)


class FPN(nn.Module):
    """The embeddings of CFBI+ at strides 4, 8 and 16."""

    def __init__(self, widths: tuple[int, int, int], channels: int):
        super().__init__()
        self.latlayer2, self.latlayer1, self.toplayer = (self._layer(c, channels, 1) for c in widths)
        self.smooth1, self.smooth2 = self._layer(channels, channels, 3), self._layer(channels, channels, 3)

    def forward(self, x4: Tensor, x8: Tensor, x16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps [B, c, h, w] at three strides to three of `channels` channels."""
        x16 = self.toplayer(x16)
        x8 = self._add(self.latlayer1(x8), x16)
        x4 = self._add(self.latlayer2(x4), x8)
        return self.smooth2(x4).relu_(), self.smooth1(x8).relu_(), x16.relu_()

    @staticmethod
    def _layer(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(32, c_out))

    @staticmethod
    def _add(fine: Tensor, coarse: Tensor) -> Tensor:
        return fine + F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)


class MapProjection(nn.Module):
    """The projection of CFBI's matching maps."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)
        self.bn = nn.GroupNorm(c_out // 4, c_out)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, c_in, h, w] to [B, c_out, h, w]."""
        return self.bn(self.conv(maps)).relu_()


class CFBINetwork(nn.Module):
    """CFBI or CFBI+: `encode` a frame, add it to `References` where the mask is known, else `segment` it."""

    def __init__(self, sizes: CFBISizes):
        super().__init__()
        self.sizes = sizes
        self.feature_extracter = DeepLab(sizes)
        low, middle, *_ = self.feature_extracter.backbone.channels
        if sizes.multi_scale:
            self.fpn = FPN((sizes.aspp, middle, sizes.aspp), sizes.embedding)
        else:
            self.seperate_conv = nn.Conv2d(sizes.aspp, sizes.aspp, 3, padding=1, groups=sizes.aspp)
            self.bn1 = nn.GroupNorm(32, sizes.aspp)
            self.embedding_conv = nn.Conv2d(sizes.aspp, sizes.embedding, 1)
            self.bn2 = nn.GroupNorm(sizes.embedding // 4, sizes.embedding)
            self.dynamic_prehead = MapProjection(matching_maps(sizes.levels[0]), sizes.prehead)
        self.bg_bias = nn.Parameter(torch.zeros(len(sizes.levels), 1, 1, 1))
        self.fg_bias = nn.Parameter(torch.zeros(len(sizes.levels), 1, 1, 1))
        self.dynamic_seghead = Ensembler(sizes, low)

    def fold(self) -> CFBINetwork:
        """Prepares inference: merges batch norms into convolutions; parameters change their names, results do not."""
        fold_batch_norm(self.feature_extracter)
        self.feature_extracter.to(memory_format=torch.channels_last)
        return self.requires_grad_(False).eval()

    def encode(self, image: Tensor) -> CFBIFeatures:
        """The features of a normalised image [1, 3, H, W], whose sides are 16 n + 1."""
        x4, low, middle, pyramid = self.feature_extracter(image.contiguous(memory_format=torch.channels_last))
        if self.sizes.multi_scale:
            embeddings = self.fpn(x4, middle, pyramid)
        else:
            x = self.bn1(self.seperate_conv(x4)).relu_()
            embeddings = (self.bn2(self.embedding_conv(x)).relu_(),)
        return CFBIFeatures(tuple(x[0].contiguous() for x in embeddings), low[0].contiguous())

    def matchers(self, features: CFBIFeatures, previous: CFBIFeatures) -> list[LocalMatcher]:
        """The local matcher of each level for a frame and the previous one; all sequences share them."""
        pairs = zip(features.embeddings, previous.embeddings, self.sizes.levels, strict=True)
        return [local_matcher(now, before, level) for now, before, level in pairs]

    def segment(
        self,
        features: CFBIFeatures,
        previous: CFBIFeatures,
        matchers: Sequence[LocalMatcher],
        masks: Sequence[Tensor],
        references: Sequence[References],
    ) -> Tensor:
        """Logits of S sequences at stride 4.

        Args:
            features, previous: of the frame and of the previous one.
            matchers: from `matchers`, for these two frames.
            masks: of the previous frame, bool [S, h, w] at each level.
            references: of each sequence.

        Returns:
            [S, 2, h, w], background first.
        """
        levels = []
        for n, level in enumerate(self.sizes.levels):
            with torch.autocast(features.low.device.type, enabled=False):  # distances are differences of large numbers
                maps = torch.cat(
                    [
                        self._maps(n, level, features, matchers[n], mask, reference)
                        for mask, reference in zip(masks[n], references, strict=True)
                    ]
                )
            if not self.sizes.multi_scale:
                maps = self.dynamic_prehead(maps)
            pair = torch.cat([features.embeddings[n], previous.embeddings[n]])
            levels.append(Mixture(maps, pair, masks[n], maps_first=self.sizes.multi_scale))
        with torch.autocast(features.low.device.type, enabled=False):
            before = means_of(previous.embeddings[0], masks[0])  # [2 S, 2 C]
            means = torch.cat([torch.cat([r.means() for r in references]), before], 1)  # [2 S, 4 C]
        return self.dynamic_seghead(levels, means, features.low)

    def _maps(
        self, n: int, level: Level, features: CFBIFeatures, matcher: LocalMatcher, mask: Tensor, reference: References
    ) -> Tensor:
        """The matching maps of background and object of one sequence at level n, [2, M, h, w]."""
        bias = torch.stack([self.bg_bias[n], self.fg_bias[n]])[..., None].view(2, 1, 1, 1)
        x = features.embeddings[n][: level.channels]
        far = torch.stack([nearest_reference(x, columns) for columns in reference.columns[n]])[:, None]  # [2, 1, h, w]
        far = squashed(far, bias)
        near = local_distances(matcher, mask, tuple(x.shape[-2:]), bias)  # [2, windows, h, w]
        label = torch.stack([~mask, mask])[:, None].to(far.dtype)
        return torch.cat([far, near, label, near.flip(0), far.flip(0)], 1)
