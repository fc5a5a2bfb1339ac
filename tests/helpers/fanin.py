"""Random weights that preserve the scale of a signal at any depth; the golden numbers of the RVOS networks use them.

The name of a parameter is the seed of its values, so that a network that is built in another way gets the same values.
"""

import math
import zlib

import numpy as np
import torch


@torch.no_grad()
def fill(network):
    """Fills the parameters of a network, but not its buffers, and returns it in evaluation mode."""
    names = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    for parameter, own in names.items():
        name, shape = min(own), tuple(parameter.shape)  # tied parameters use the first of their names
        n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        last = name.rpartition(".")[2]
        if len(shape) == 1 and (last == "weight" or last.startswith("gamma")):
            n = 1 + np.float32(0.02) * n
        elif len(shape) > 1:
            n *= np.float32(math.prod(shape[1:]) ** -0.5)
        else:
            n *= np.float32(2 if name.endswith("sampling_offsets.bias") else 0.1)
        parameter.copy_(torch.from_numpy(n))
    return network.eval()
