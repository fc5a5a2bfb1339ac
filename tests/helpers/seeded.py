"""Checkpoints with seeded weights: of AOT and DeAOT in the official layout, what the golden numbers were made with."""

import zlib
from functools import cache, lru_cache

import numpy as np
import torch
from helpers import seeded_cfbi
from helpers.cutie_scenes import cutie_weights

from rvos_ensemble.adapters.networks.urvos import urvos
from rvos_ensemble.adapters.networks.urvos.vocabulary import Vocabulary
from rvos_ensemble.propagators.networks.network import VOSNetwork
from rvos_ensemble.propagators.networks.variants import VARIANTS


def seeded(key, shape):
    """The golden weights: every tensor drawn from its own key."""
    n = np.random.RandomState(zlib.crc32(f"1:{key}".encode())).standard_normal(tuple(shape))
    if key.endswith("running_var"):
        n = 1 + 0.2 * np.abs(n)
    elif key.endswith("running_mean"):
        n = 0.1 * n
    elif any(s in key for s in ("relative_emb_v", "relative_position_bias_table", "mask_token")):
        n = 0.5 * n
    elif len(shape) >= 2:
        n = n / np.sqrt(np.prod(shape[1:]))
    else:
        n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
    return torch.from_numpy(np.asarray(n, np.float64).astype(np.float32))


def weights_of(name):
    if name in seeded_cfbi.SIZES:
        return seeded_cfbi.weights_of(name)
    if name in urvos.VARIANTS:
        torch.manual_seed(0)
        return urvos.URVOS(urvos.VARIANTS[name], Vocabulary(("a", "disc", "red", "star", "that", "turns"))).state_dict()
    if name.startswith("cutie_"):
        return cutie_weights(name.removeprefix("cutie_"))
    return dict(_of_aot(name))


@lru_cache(maxsize=2)  # a test changes the dictionary, never a tensor
def _of_aot(name):
    state = meta_network(name).state_dict()
    index = {}
    if any(v.dtype == torch.int64 for v in state.values()):
        index = {k: v for k, v in VOSNetwork(VARIANTS[name]).named_buffers() if v.dtype == torch.int64}
    return {k: index[k] if k in index else seeded(k, v.shape) for k, v in state.items()}


@cache
def meta_network(name):
    """AOT or DeAOT without memory for its weights: names and shapes."""
    with torch.device("meta"):
        return VOSNetwork(VARIANTS[name])
