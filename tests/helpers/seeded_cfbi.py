"""Seeded weights of CFBI and CFBI+: those that the golden numbers were made with, and narrow ones."""

import re
import zlib
from functools import lru_cache

import numpy as np
import torch

from rvos_ensemble.propagators.networks.cfbi.network import CFBINetwork
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes

SIZES = {
    # the published widths, with a short ResNet
    "cfbip": CFBISizes(blocks=(1, 1, 1, 3)),
    "cfbi": CFBISizes(False, (1, 1, 1, 3), embedding=100, prehead=64),
    # the narrowest ones that the groups of the norms allow
    "cfbip_narrow": CFBISizes(True, (1, 1, 1, 3), 8, 32, 8, 32, 128, 16),
    "cfbi_narrow": CFBISizes(False, (1, 1, 1, 3), 8, 32, 8, 20, 128, 16, 16),
}


@lru_cache(maxsize=1)
def pool():
    """A prime number of normal numbers: drawing a network's millions of weights one by one would take many seconds."""
    return np.random.RandomState(0).standard_normal(1_000_003).astype(np.float32)


def seeded(key, shape):
    """The golden weights: every tensor is a part of the pool that starts at a place of its own."""
    start = zlib.crc32(key.encode()) % len(pool())
    places = np.arange(start, start + int(np.prod(shape)))
    n = torch.from_numpy(np.take(pool(), places, mode="wrap").reshape(tuple(shape)))
    if key.endswith("running_var"):
        return 1 + 0.2 * n.abs()
    if key.endswith("running_mean"):
        return 0.1 * n
    if re.search(r"GCT\w*\.(alpha|gamma|beta)$", key):  # strong enough to matter
        return 1 + 0.1 * n if key.endswith("alpha") else 0.3 * n
    if key in ("bg_bias", "fg_bias"):
        return 0.3 * n
    if len(shape) >= 2:
        return n / np.sqrt(np.prod(shape[1:])).astype(np.float32)
    n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
    # embeddings are near to each other, or all squashed distances would be 1
    return 0.25 * n if re.match(r"fpn\.(toplayer|smooth\d)\.1\.|bn2\.", key) else n


def weights_of(name):
    """The state dict of one of `SIZES`."""
    with torch.device("meta"):
        state = CFBINetwork(SIZES[name]).state_dict()
    return {k: seeded(k, v.shape) for k, v in state.items()}


def block_video(size=(75, 109), length=4):
    """(frames uint8 [T, H, W, 3], masks bool [T, H, W]): a block that moves over a smooth ground, with noise."""
    rng = np.random.default_rng(0)
    h, w = size
    rows, columns = np.mgrid[:h, :w]
    ground = np.stack([128 + 100 * np.sin(rows / (5 + c) + columns / (9 - c)) for c in range(3)], 2)
    frames, masks = np.zeros((length, h, w, 3), np.uint8), np.zeros((length, h, w), bool)
    for t in range(length):
        y, x = h // 4 + 2 * t, w // 5 + 4 * t
        masks[t, y : y + h // 3, x : x + w // 3] = True
        image = np.where(masks[t][..., None], np.float64((200, 60, 90)), ground) + rng.integers(0, 20, (h, w, 3))
        frames[t] = image.clip(0, 255)
    return frames, masks
