"""Attention over a memory of frames, and attention inside a 15x15 window of the previous frame.

Both read a memory of keys and values. Values are a tuple of tensors that share the attention weights: one in AOT, two
(visual, identity) in DeAOT. The batch size is 1 for tensors that depend on the image alone, which all sequences share,
or B, the number of sequences. Neither stores the softmax of all queries over the whole memory: fused kernels or blocks
of queries avoid that.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 7  # of the local window
WINDOW = 2 * RADIUS + 1
TILE = (8, 11)  # largest tile of queries, rows x columns; a larger one reads more keys outside the windows
BLOCK = 1 << 20  # scores in memory at once outside fused kernels: 4 MB of float32, about the cache of a core

Values = tuple[Tensor, ...]


def attend(q: Tensor, k: Tensor, values: Values, heads: int = 1) -> Values:
    """softmax(q k' / sqrt(d)) v for each v.

    Args:
        q: [Q, N, heads * d], Q is 1 or B.
        k: [Q, M, heads * d].
        values: each [B, M, C].
        heads: number of heads; C = heads * d unless it is 1.

    Returns:
        One [B, N, C] per value.

    >>> q, v = torch.zeros(1, 2, 4), torch.tensor([[[1.0], [3.0]]])
    >>> attend(q, q, (v,))[0].flatten().tolist()  # equal scores give the mean of the values
    [2.0, 2.0]
    """
    if heads > 1:
        return tuple(_attend_heads(q, k, v, heads) for v in values)
    if q.is_cuda:
        return tuple(_attend_slices(q, k, v) for v in values)
    return _attend_blocks(q, k, values)


def _attend_heads(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Several heads, one value."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # each [1 or B, heads, tokens, d]
    b = v.shape[0]
    out = F.scaled_dot_product_attention(q.expand(b, -1, -1, -1), k.expand(b, -1, -1, -1), v)
    return out.transpose(1, 2).flatten(2)


def _attend_slices(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head; the value is cut into slices as wide as the keys, because fused kernels need equal widths."""
    n = v.shape[2] // q.shape[2]
    v = v.unflatten(2, (n, -1)).transpose(1, 2)  # [B, n, M, d]
    q, k = (x[:, None].expand(v.shape[0], n, -1, -1) for x in (q, k))  # [B, n, N or M, d]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _attend_blocks(q: Tensor, k: Tensor, values: Values) -> Values:
    """One head, blocks of queries: faster on a CPU than a fused kernel, which repeats the scores for each slice."""
    n, m, scale = q.shape[1], k.shape[1], q.shape[2] ** -0.5
    rows = max(128, BLOCK // m)
    outputs: list[list[Tensor]] = [[] for _ in values]
    zero = q.new_zeros(1)
    for a in range(0, n, rows):
        # weights: [Q, rows, M]
        weights = torch.baddbmm(zero, q[:, a : a + rows], k.transpose(1, 2), beta=0, alpha=scale).softmax(2)
        for out, v in zip(outputs, values, strict=True):
            out.append(torch.bmm(weights, v) if len(weights) == len(v) else torch.stack([weights[0] @ x for x in v]))
    return tuple(torch.cat(out, 1) for out in outputs)


class LocalWindow:
    """15x15 attention on a map of h x w positions, computed as dense attention of tiles.

    A tile of 8x11 queries needs 22x25 keys, at its own positions and up to 7 beyond them. Its scores are one small
    matrix product, and the window of a query is a strided view of its row of scores, without index tables.

    Args:
        size: (h, w).
        device, dtype: of the scores.
    """

    def __init__(self, size: tuple[int, int], device: torch.device, dtype: torch.dtype):
        self.h, self.w = size
        self.ny, self.nx = math.ceil(self.h / TILE[0]), math.ceil(self.w / TILE[1])
        self.th, self.tw = math.ceil(self.h / self.ny), math.ceil(self.w / self.nx)  # no larger than the map requires
        self.kh, self.kw = self.th + 2 * RADIUS, self.tw + 2 * RADIUS  # keys of a tile, rows x columns
        lowest = torch.finfo(dtype).min / 4  # finite, because queries in the padding have no key at all
        outside = torch.full((1, self.th * self.tw, self.kh * self.kw), lowest, device=device, dtype=dtype)
        self.windows(outside).zero_()
        inside = self.keys(torch.ones(1, self.h * self.w, 1, device=device, dtype=dtype))  # [1, tiles, keys, 1]
        # [tiles, queries of a tile, keys of a tile]: 0 inside the window and the image, very low elsewhere
        self.mask = torch.where(inside[0].transpose(1, 2) > 0, outside, lowest)

    def queries(self, x: Tensor) -> Tensor:
        """Tokens [B, h * w, C] as tiles [B, tiles, th * tw, C], padded with zeros."""
        b, _, c = x.shape
        x = x.view(b, self.h, self.w, c)
        x = F.pad(x, (0, 0, 0, self.nx * self.tw - self.w, 0, self.ny * self.th - self.h))
        x = x.view(b, self.ny, self.th, self.nx, self.tw, c).transpose(2, 3)
        return x.reshape(b, self.ny * self.nx, self.th * self.tw, c)

    def keys(self, x: Tensor) -> Tensor:
        """Tokens [B, h * w, C] as overlapping tiles [B, tiles, kh * kw, C], padded with zeros."""
        b, _, c = x.shape
        right, bottom = self.nx * self.tw - self.w + RADIUS, self.ny * self.th - self.h + RADIUS
        x = F.pad(x.view(b, self.h, self.w, c), (0, 0, RADIUS, right, RADIUS, bottom))
        x = x.unfold(1, self.kh, self.th).unfold(2, self.kw, self.tw)  # [B, ny, nx, C, kh, kw]
        return x.permute(0, 1, 2, 4, 5, 3).reshape(b, self.ny * self.nx, self.kh * self.kw, c)

    def untile(self, x: Tensor) -> Tensor:
        """Tiles of queries [B, tiles, th * tw, C] back to tokens [B, h * w, C]."""
        b, _, _, c = x.shape
        x = x.view(b, self.ny, self.nx, self.th, self.tw, c).transpose(2, 3)
        x = x.reshape(b, self.ny * self.th, self.nx * self.tw, c)
        return x[:, : self.h, : self.w].reshape(b, self.h * self.w, c)

    def windows(self, scores: Tensor) -> Tensor:
        """The windows of all queries, a view [T, th, tw, 15, 15] of the scores of tiles [T, th * tw, kh * kw]."""
        row = self.kh * self.kw
        strides = (self.th * self.tw * row, self.tw * row + self.kw, row + 1, self.kw, 1)
        return scores.as_strided((len(scores), self.th, self.tw, WINDOW, WINDOW), strides)

    def attend(
        self, q: Tensor, k: Tensor, values: Values, relative_k: tuple[Tensor, Tensor], relative_v: Tensor | None = None
    ) -> Values:
        """Attention of every position to the window around it.

        Args:
            q: [Q, N, heads * d], Q is 1 or B.
            k: [Q, N, heads * d].
            values: each [B, N, C].
            relative_k: weight [heads * 225, d] and bias [heads * 225] that turn a query into a score for each offset.
            relative_v: [heads, d, 225], added to the values by offset, or None.

        Returns:
            One [B, N, C] per value.
        """
        weight, bias = relative_k
        heads, batch = len(weight) // WINDOW**2, max(len(v) for v in values)
        relative = weight.view(heads, WINDOW**2, -1), bias.view(heads, WINDOW**2)
        # on a CPU one sequence at a time, and one head at a time: its map stays in the caches, and the next one reuses
        # its memory; training keeps all maps anyway
        step = batch if q.is_cuda or torch.is_grad_enabled() else 1
        by_head = zip(
            self.queries(q).chunk(heads, 3),
            self.keys(k).chunk(heads, 3),
            *relative,
            [None] * heads if relative_v is None else relative_v,
            zip(*(v.chunk(heads, 2) for v in values), strict=True),
            strict=True,
        )
        outputs = [self._head(*parts, step) for parts in by_head]
        return tuple(torch.cat(out, 2) if heads > 1 else out[0] for out in zip(*outputs, strict=True))

    def _head(
        self,
        q: Tensor,
        k: Tensor,
        weight: Tensor,
        bias: Tensor,
        relative_v: Tensor | None,
        values: Values,
        step: int,
    ) -> list[Tensor]:
        """One head of `attend`.

        Args:
            q, k: tiles [Q, tiles, tokens, d].
            weight, bias, relative_v: [225, d], [225] and [d, 225] of the head.
            values: each [B, N, C].
            step: sequences at once.

        Returns:
            One [B, N, C] per value.
        """
        outputs: list[list[Tensor]] = [[] for _ in values]
        for start in range(0, max(len(v) for v in values), step):
            if start == 0 or len(q) > 1:
                weights = self._weights(_rows(q, start, step), _rows(k, start, step), weight, bias)
                by_offset = None  # the weighted sum of `relative_v`
                if relative_v is not None:
                    by_offset = self.windows(weights).reshape(*weights.shape[:2], -1) @ relative_v.t()
                    by_offset = by_offset.unflatten(0, (-1, q.shape[1]))
                weights = weights.unflatten(0, (-1, q.shape[1]))  # [1 or step, tiles, tq, tk]
            for out, v in zip(outputs, values, strict=True):
                if start == 0 or len(v) > 1:
                    x = weights @ self.keys(_rows(v, start, step))
                    out.append(self.untile(x if by_offset is None else x + by_offset))
        return [torch.cat(out) if len(out) > 1 else out[0] for out in outputs]

    def _weights(self, q: Tensor, k: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Softmax over the window: q, k [Q, tiles, tokens, d] to weights [Q * tiles, tq, tk], 0 outside the window."""
        batch, tiles = q.shape[:2]
        q, k = q.flatten(0, 1), k.flatten(0, 1)
        relative = F.linear(q, weight, bias).view(batch * tiles, self.th, self.tw, WINDOW, WINDOW)
        scores = self.mask.repeat(batch, 1, 1)
        self.windows(scores).add_(relative)
        return scores.baddbmm_(q, k.transpose(1, 2), alpha=q.shape[2] ** -0.5).softmax(2)


@lru_cache(maxsize=8)
def local_window(size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> LocalWindow:
    """The `LocalWindow` of a size, computed once."""
    return LocalWindow(size, device, dtype)


def _rows(x: Tensor, start: int, count: int) -> Tensor:
    """Some sequences of a batch, or the only row if all sequences share it."""
    return x if len(x) == 1 else x[start : start + count]
