"""A map with many channels of which only a few differ between objects; it is never stored as one tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.cfbi.matching import span


@dataclass
class Mixture:
    """The channels that the ensembler gets at one level, for S sequences, each with two objects: background and object.

    In the official code they are one map with 3 C + M channels for every object: matching maps, the embedding of the
    frame, the embedding of the previous frame inside the object, and the same outside it. Here only the matching maps
    belong to an object. A 1x1 convolution of the embeddings is a product of the two embeddings with weights for pixels
    outside the sequence's object, corrected inside it, in its bounding box.

    Attributes:
        maps: [2 S, M, h, w], the background of the first sequence, its object, the background of the second, ...
        embeddings: [2 C, h, w], the frame's above the previous frame's.
        masks: bool [S, h, w], the object in the previous frame.
        maps_first: whether the matching maps come before the embeddings in the order of the channels.
        own: [2 S, K, h, w], channels before all others, or None.
    """

    maps: Tensor
    embeddings: Tensor
    masks: Tensor
    maps_first: bool
    own: Tensor | None = None

    def behind(self, own: Tensor) -> Mixture:
        """The same behind other channels [2 S, K, h, w]."""
        return replace(self, own=own)

    def energy(self) -> Tensor:
        """The sum of squares of each channel, float32 [2 S, K + 3 C + M]."""
        current, previous = self.embeddings.float().square().flatten(1).chunk(2)
        inside = self.masks.flatten(1).float()
        objects = torch.stack([1 - inside, inside], 1).flatten(0, 1)  # [2 S, h w], background first
        within = objects @ previous.t()  # [2 S, C]
        outside = within.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # the background is what is outside the object
        embeddings = torch.cat([current.sum(1).expand_as(within), within, outside], 1)
        maps = energy(self.maps)
        parts = [maps, embeddings] if self.maps_first else [embeddings, maps]
        own = [] if self.own is None else [energy(self.own)]
        return torch.cat(own + parts, 1)

    def pointwise(self, weight: Tensor) -> Tensor:
        """A 1x1 convolution with weights [2 S, n, K + 3 C + M] of its own for each object: [2 S, n, h, w]."""
        (b, n, _), c, (h, w) = weight.shape, len(self.embeddings) // 2, self.maps.shape[-2:]
        weight = weight.to(self.embeddings.dtype)
        own, of_maps, of_embeddings = self._split(weight, c)
        now, within, outside = of_embeddings.split(c, 2)
        ground = torch.stack([within[0::2], outside[1::2]], 1).flatten(0, 1)  # for pixels outside the sequence's object
        inside = torch.stack([outside[0::2], within[1::2]], 1).flatten(0, 1)
        result = torch.cat([now, ground], 2).reshape(b * n, 2 * c) @ self.embeddings.flatten(1)
        result = result.view(b, n, h * w)
        for part, x in ((of_maps, self.maps), (own, self.own)):
            if x is not None:
                result.baddbmm_(part.to(result.dtype), x.to(result.dtype).flatten(2))
        result = result.view(b, n, h, w)
        for s, mask in enumerate(self.masks):
            if mask.any():
                self._correct(result[2 * s : 2 * s + 2], (inside - ground)[2 * s : 2 * s + 2], mask)
        return result

    def _correct(self, result: Tensor, difference: Tensor, mask: Tensor) -> None:
        """Adds weights [2, n, C] times the previous frame inside the mask to both maps of a sequence, [2, n, h, w]."""
        y, x = (span(mask.any(dim=d)) for d in (1, 0))
        crop = self.embeddings[len(self.embeddings) // 2 :, y, x] * mask[y, x]
        product = difference.flatten(0, 1) @ crop.flatten(1)
        result[..., y, x] += product.view(*result.shape[:2], *crop.shape[-2:])

    def _split(self, weight: Tensor, c: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of own channels, matching maps and embeddings."""
        first = 0 if self.own is None else self.own.shape[1]
        own, rest = weight[..., :first], weight[..., first:]
        m = self.maps.shape[1]
        maps, embeddings = (
            (rest[..., :m], rest[..., m:]) if self.maps_first else (rest[..., 3 * c :], rest[..., : 3 * c])
        )
        return own, maps, embeddings


def energy(x: Tensor) -> Tensor:
    """The sum of squares of each channel: [B, C, h, w] to float32 [B, C]."""
    return torch.linalg.vector_norm(x, dim=(2, 3), dtype=torch.float32).square()
