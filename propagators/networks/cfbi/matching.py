"""Distances between the pixels of a frame and those of its references and of the previous frame, in embedding space.

Distances are squared. A pixel that has nothing to be compared with is `FAR` from it, which `closeness` maps to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.cfbi.sizes import Level

FAR = 5e4
BLOCK = 1 << 20  # distances in memory at once in `nearest_reference`: 4 MB, about the cache of a core
TILE = 32  # pixels of a row that are compared with the same pixels of the previous frame


def squashed(distance: Tensor, bias: Tensor) -> Tensor:
    """Distances as numbers in -1..1; 1 means far away.

    Args:
        distance: any shape.
        bias: added to them, of a shape that broadcasts.
    """
    return ((distance + bias) / 2).tanh()  # = 2 sigmoid(distance + bias) - 1


def reference_columns(embedding: Tensor, mask: Tensor) -> Tensor:
    """The pixels of a mask in the form in which `nearest_reference` reads them.

    Args:
        embedding: [C, h, w].
        mask: bool [h, w].

    Returns:
        float32 [C + 1, n], the embeddings of the n pixels above their squared norms.
    """
    x = embedding[:, mask].float()
    return torch.cat([x, x.square().sum(0, keepdim=True)])


def nearest_reference(embedding: Tensor, columns: Tensor) -> Tensor:
    """The distance of every pixel to the nearest one of a set.

    The distances are matrix products of blocks of pixels with the whole set; at most `BLOCK` of them are in memory.

    Args:
        embedding: [C, h, w].
        columns: [C + 1, n], see `reference_columns`.

    Returns:
        float32 [h, w].
    """
    c, h, w = embedding.shape
    if not columns.shape[1]:
        return embedding.new_full((h, w), FAR, dtype=torch.float32)
    x = embedding.float().view(c, h * w).t()
    rows = torch.cat([-2 * x, x.new_ones(h * w, 1)], 1)  # [h * w, C + 1]
    nearest = [(part @ columns).amin(1) for part in rows.split(max(64, BLOCK // columns.shape[1]))]
    return (torch.cat(nearest) + x.square().sum(1)).view(h, w)


class LocalMatcher:
    """Distances to the pixels in windows of the previous frame; all sequences share them.

    The frame is split into stride^2 grids, so that a window of radius r is one of radius r / stride in a grid. The
    distances of TILE pixels of a row to a row of the previous frame are one small matrix product, of which the windows
    are a diagonal band. The memory is one number for each pixel and offset: 4 (2 r / stride + 1)^2 h w bytes.

    Args:
        current, previous: embeddings [C, h, w].
        radii: of the windows, pixels, ascending and multiples of the stride.
        stride: of the pixels in the windows.
    """

    def __init__(self, current: Tensor, previous: Tensor, radii: tuple[int, ...], stride: int):
        self.size, self.stride = tuple(current.shape[-2:]), stride
        furthest = (max(self.size) - 1) // stride  # offsets beyond it are outside the frame for every pixel
        self.radii = [min(r // stride, furthest) for r in radii]
        self.radius = self.radii[-1]
        self.norm = current.float().square().sum(0)  # [h, w], the same for all offsets: added to minima
        current, previous = self._grids(current.float()), self._grids(previous.float(), FAR)
        self.offsets = self._distances(current, previous)  # [K, K, grids, h', w'], K = 2 radius + 1
        self.any_pixel = self._minima(self.offsets)

    def nearest(self, mask: Tensor) -> Tensor:
        """The distance of every pixel to the nearest one of an object and of the background in each window.

        Args:
            mask: bool [h, w], the object in the previous frame.

        Returns:
            float32 [2, windows, h, w], background first.
        """
        result = torch.stack([self.any_pixel, torch.full_like(self.any_pixel, FAR)])  # [2, windows, grids, h', w']
        grids = self._grids(mask[None])[:, 0]  # bool [grids, h', w']
        if mask.any():
            inside = self._grids(torch.ones_like(mask)[None])[:, 0]
            # pixels whose windows contain the object; everywhere else all pixels are background
            y, x = (span(grids.any(dim=d).any(dim=0), self.radius) for d in (2, 1))
            for row, members in zip(result, (inside & ~grids, grids), strict=True):
                windows = self._windows(members)[..., y, x]
                row[..., y, x] = self._minima(self.offsets[..., y, x], windows)
        h, w = self.size
        joined = F.pixel_shuffle(result.flatten(0, 1), self.stride)[:, 0, :h, :w]
        return joined.unflatten(0, result.shape[:2]) + self.norm

    def _grids(self, x: Tensor, outside: float | None = None) -> Tensor:
        """[C, h, w] as [grids, C, h', w'], padded with zeros; with `outside`, a channel of squared norms is added.

        Args:
            x: the map.
            outside: the squared norm of the padding.
        """
        if outside is not None:
            x = torch.cat([x, x.square().sum(0, keepdim=True)])
        s, (h, w) = self.stride, x.shape[-2:]
        padding = (0, -w % s, 0, -h % s)
        padded = F.pad(x, padding)
        if outside is not None:
            padded[-1] = F.pad(x[-1], padding, value=outside)
        return F.pixel_unshuffle(padded[:, None], s).transpose(0, 1)

    def _distances(self, current: Tensor, previous: Tensor) -> Tensor:
        """Distances without the norm of the current pixel.

        Args:
            current: [grids, C, h', w'].
            previous: [grids, C + 1, h', w'], squared norms last.

        Returns:
            [K, K, grids, h', w'], by the row and column of the offset.
        """
        (grids, c, h, w), r = current.shape, self.radius
        k, tiles = 2 * r + 1, -(-w // TILE)
        current = torch.cat([-2 * current, torch.ones_like(current[:, :1])], 1)
        current = F.pad(current, (0, tiles * TILE - w)).view(grids, c + 1, h, tiles, TILE)
        current = current.permute(2, 0, 3, 4, 1).reshape(h * grids * tiles, TILE, c + 1)
        padding = (r, r + tiles * TILE - w, r, r)
        previous = torch.cat([F.pad(previous[:, :-1], padding), F.pad(previous[:, -1:], padding, value=FAR)], 1)
        previous = previous.unfold(3, TILE + 2 * r, TILE)  # [grids, C + 1, h' + 2 r, tiles, TILE + 2 r]
        previous = previous.permute(2, 0, 3, 1, 4).contiguous()
        result = current.new_empty(k, k, grids, h, tiles * TILE)
        for i in range(k):
            products = torch.bmm(current, previous[i : i + h].flatten(0, 2))  # [h' * grids * tiles, TILE, TILE + 2 r]
            band = products.as_strided((len(products), TILE, k), (TILE * (k + TILE - 1), k + TILE, 1))
            band = band.view(h, grids, tiles, TILE, k).permute(4, 1, 0, 2, 3)
            result[i].view(k, grids, h, tiles, TILE).copy_(band)
        return result[..., :w]

    def _windows(self, members: Tensor) -> Tensor:
        """Whether the pixel at each offset is a member: bool [grids, h', w'] to a view [K, K, grids, h', w']."""
        h, w = members.shape[-2:]
        padded = F.pad(members, (self.radius,) * 4)
        return padded.unfold(1, h, 1).unfold(2, w, 1).permute(1, 2, 0, 3, 4)

    def _minima(self, offsets: Tensor, members: Tensor | None = None) -> Tensor:
        """The minimum over each window, among members only: [K, K, grids, y, x] to [windows, grids, y, x].

        The order is that of the official code: the largest window first, then the others from small to large.
        """
        best, minima = None, []
        for inner, outer in pairwise((-1, *self.radii)):
            for part in _ring(self.radius, inner, outer):
                values = offsets[part] if members is None else torch.where(members[part], offsets[part], FAR)
                least = values.amin((0, 1))
                best = least if best is None else torch.minimum(best, least)
            minima.append(best)
        return torch.stack([minima[-1], *minima[:-1]])


def _ring(centre: int, inner: int, outer: int) -> Iterator[tuple[slice, slice]]:
    """Rectangles of the offsets that are further away than `inner` and at most `outer`; none if they are equal."""
    wide = slice(centre - outer, centre + outer + 1)
    if inner < 0:
        yield wide, wide
    if inner < 0 or inner == outer:
        return
    before, after = slice(centre - outer, centre - inner), slice(centre + inner + 1, centre + outer + 1)
    middle = slice(centre - inner, centre + inner + 1)
    yield from ((before, wide), (after, wide), (middle, before), (middle, after))


def span(occupied: Tensor, radius: int = 0) -> slice:
    """From the first to the last True of bool [n], and `radius` further on both sides."""
    places = occupied.nonzero()
    return slice(max(int(places[0]) - radius, 0), int(places[-1]) + radius + 1)


def local_distances(matcher: LocalMatcher, mask: Tensor, size: tuple[int, int], bias: Tensor) -> Tensor:
    """Squashed distances in windows, at the size of the embedding even if they were computed at half of it.

    Args:
        matcher: of the two frames.
        mask: bool [h, w], the object in the previous frame, at the size of the embedding.
        size: (h, w).
        bias: [2, 1, 1, 1], of background and object.

    Returns:
        float32 [2, windows, h, w], background first.
    """
    if matcher.size == size:
        return squashed(matcher.nearest(mask), bias)
    small = F.interpolate(mask[None, None].float(), size=matcher.size, mode="nearest")[0, 0] > 0
    maps = squashed(matcher.nearest(small), bias)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def local_matcher(current: Tensor, previous: Tensor, level: Level) -> LocalMatcher:
    """The matcher of two frames at one level.

    Args:
        current, previous: embeddings [C, h, w], of which the level compares some channels.
        level: which ones, and in what windows.
    """
    pair = torch.stack([current[: level.channels], previous[: level.channels]]).float()
    if level.halved:
        small = tuple(side // 2 + 1 for side in pair.shape[-2:])
        pair = F.interpolate(pair, size=small, mode="bilinear", align_corners=True)
    return LocalMatcher(*pair, level.radii, level.stride)
