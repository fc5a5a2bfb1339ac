"""Seeded weights and short videos for Cutie: what its golden numbers were made with."""

import zlib
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from rvos_ensemble.propagators.networks.cutie.network import Cutie
from rvos_ensemble.propagators.networks.cutie.sizes import BASE, SMALL, CutieSizes

SIZES = {
    "base": BASE,
    "small": SMALL,
    # the official code builds its encoders in full size only
    "narrow": CutieSizes(False, (2, 2, 2), 64, (2, 2, 2), 64, 32, 16, 32, 32, 32, 64, 2, 4, (16, 16)),
    "nano": CutieSizes(False, (1, 1, 1), 8, (1, 1, 1), 8, 32, 16, 32, 32, 32, 64, 2, 4, (16, 16)),
}
# The bias of the last convolution, chosen so that some pixels are the object's and some are not.
BIAS = {"base": 1.0, "small": 6.5, "narrow": 17.0, "nano": -5.0}
NUMBERS = ((np.random.RandomState(0).random_sample(1_000_003) - 0.5) * np.sqrt(12)).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """A run of the official `InferenceCore`.

    Attributes:
        network: a key of `SIZES`.
        size: (H, W) of the frames.
        length: number of frames.
        references: frames with a reference mask.
        settings: of our propagator.
        official: the same settings by their official names.
        kept: the frames whose probabilities are in the golden file.
    """

    network: str
    size: tuple[int, int]
    length: int
    references: tuple[int, ...] = (0,)
    settings: dict = field(default_factory=dict)
    official: dict = field(default_factory=dict)
    kept: tuple[int, ...] = ()


LONG = {"max_memory_frames": 4, "min_memory_frames": 2, "num_prototypes": 6, "max_num_tokens": 24, "buffer_tokens": 8}
SCENES = {
    "small": Scene("small", (70, 101), 7, kept=(1, 5, 6)),
    "base": Scene("base", (70, 101), 5, (0,), {"memory_gap": 2}, {"mem_every": 2}, (1, 3, 4)),
    "working": Scene(
        "narrow",
        (37, 53),
        12,
        (0, 7),
        {"memory_gap": 2, "max_memory_frames": 3, "top_k": 8, "stagger_updates": 1},
        {"mem_every": 2, "max_mem_frames": 3, "top_k": 8, "stagger_updates": 1},
        tuple(range(1, 12)),
    ),
    "long": Scene(
        "narrow",
        (37, 53),
        14,
        (0, 5),
        {"memory_gap": 1, "top_k": 8, "long_term": {"use": True, **LONG}},
        {
            "mem_every": 1,
            "top_k": 8,
            "use_long_term": True,
            "long_term": {k.replace("memory", "mem"): v for k, v in LONG.items()},
        },
        tuple(range(1, 14)),
    ),
    "shrunk": Scene(
        "narrow",
        (90, 131),
        4,
        (0, 2),
        {"max_short_edge": 40, "top_k": 8},
        {"max_internal_size": 40, "top_k": 8},
        kept=(1, 3),
    ),
}


def uniform(key, shape):
    """Uniform numbers of variance 1: a part of one sequence that starts where the key says, which is fast."""
    start, count = zlib.crc32(f"cutie:{key}".encode()) % len(NUMBERS), int(np.prod(shape))
    enough = [NUMBERS[start:], *[NUMBERS] * -(-(start + count - len(NUMBERS)) // len(NUMBERS))]
    return np.concatenate(enough)[:count].reshape(shape)


def seeded(key, shape, bias=0.0):
    """The golden weights: every tensor drawn from its own key."""
    n = uniform(key, tuple(shape))
    if key == "mask_decoder.pred.bias":
        n = 0 * n + bias
    elif key.endswith("running_var"):
        n = 1 + 0.2 * np.abs(n)
    elif key.endswith("running_mean"):
        n = 0.1 * n
    elif len(shape) >= 2:
        n = n * float((4 if key == "mask_decoder.pred.weight" else 1) / np.sqrt(np.prod(shape[1:])))
    else:
        n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
    return torch.from_numpy(n.astype(np.float32))


def seed(state, network):
    """A state dict with golden weights; buffers that follow from the sizes stay."""
    fixed = ("inv_freq", "num_batches_tracked")
    return {k: v if k.endswith(fixed) else seeded(k, v.shape, BIAS[network]) for k, v in state.items()}


def cutie_weights(network):
    """Seeded weights of a key of `SIZES`, in the official layout without what only training needs."""
    with torch.device("meta"):
        state = Cutie(SIZES[network]).state_dict()
    return seed({k: v for k, v in state.items() if not k.endswith("inv_freq")}, network)


def video(size, length):
    """A bright block that moves over a smooth pattern: (frames uint8 [T, H, W, 3], masks bool [T, H, W])."""
    (h, w), rng = size, np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 256, (h // 4 + 1, w // 4 + 1, 3), dtype=np.uint8), (w, h))
    frames, masks = np.repeat(ground[None], length, 0), np.zeros((length, h, w), bool)
    for t in range(length):
        y, x = h // 4, w // 8 + 2 * t
        frames[t, y : y + h // 2, x : x + w // 3] = (200, 60, 40)
        masks[t, y : y + h // 2, x : x + w // 3] = True
    return frames, masks
