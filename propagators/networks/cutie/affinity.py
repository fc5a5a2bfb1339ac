"""Reading the pixel memory of Cutie: each pixel of a frame reads the memory tokens that are most similar to it.

The similarity of a query q with selection e to a memory token m with shrinkage s is

    -s sum_c e_c (q_c - m_c)^2 / sqrt(K)

(XMem, eq. 4). Written out, it is the product of two vectors of 2 K + 1 numbers, so that all similarities are one matrix
product.

The most similar tokens of a memory are among the most similar ones of each of its frames, which sequences share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class FrameKeys:
    """The keys of a frame, the same for all sequences.

    Attributes:
        key: float32 [N, K].
        shrinkage: float32 [N, 1].
        selection: float32 [N, K].
    """

    key: Tensor
    shrinkage: Tensor
    selection: Tensor

    @cached_property
    def as_memory(self) -> Tensor:
        """See `memory_side`."""
        return memory_side(self.key, self.shrinkage)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return self.key.nbytes * 4 + self.shrinkage.nbytes * 2  # with `as_memory`


class Candidates(NamedTuple):
    """The k memory tokens that are most similar to each of M queries.

    Attributes:
        similarity: [M, k].
        index: [M, k], of the token in its memory.
    """

    similarity: Tensor
    index: Tensor


def memory_side(key: Tensor, shrinkage: Tensor) -> Tensor:
    """Keys [N, K] and shrinkage [N, 1] of memory tokens as the vectors [N, 2 K + 1] of the product."""
    parts = [-key.square(), 2 * key, torch.full_like(shrinkage, -1)]
    return torch.cat(parts, 1) * (shrinkage / math.sqrt(key.shape[1]))


def query_side(key: Tensor, selection: Tensor) -> Tensor:
    """Keys and selection [M, K] of queries as the vectors [M, 2 K + 1] of the product."""
    weighted = key * selection
    return torch.cat([selection, weighted, (weighted * key).sum(1, keepdim=True)], 1)


def most_similar(query: Tensor, memory: Tensor, k: int) -> Candidates:
    """The k memory tokens [N, 2 K + 1] that are most similar to each query [M, 2 K + 1]; all if there are fewer."""
    similarity = query @ memory.T  # [M, N]
    return Candidates(*similarity.topk(min(k, len(memory)), 1, sorted=False))


def best_of(parts: list[Candidates], sizes: list[int], k: int) -> Candidates:
    """The k best candidates of a memory that is made of parts; an index then counts the tokens of all parts.

    Args:
        parts: candidates of each part.
        sizes: the number of tokens of each part.
        k: the number of tokens to keep.
    """
    if len(parts) == 1:
        return parts[0]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    similarity = torch.cat([p.similarity for p in parts], 1)
    index = torch.cat([p.index + start for p, start in zip(parts, starts, strict=True)], 1)
    similarity, place = similarity.topk(min(k, similarity.shape[1]), 1, sorted=False)
    return Candidates(similarity, index.gather(1, place))


def read_values(values: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """The mean of the candidates' values, weighted by the softmax of their similarities.

    Args:
        values: of the memory, [N, V].
        candidates: of M queries.

    Returns:
        (means [M, V], weights [M, k]).
    """
    weights = candidates.similarity.softmax(1)
    return F.embedding_bag(candidates.index, values, mode="sum", per_sample_weights=weights), weights
