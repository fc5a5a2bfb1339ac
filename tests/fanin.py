"""Random weights that keep a signal alive through any depth: those of the golden numbers of the RVOS networks.

Every parameter is drawn from its own name, so that a network built in another way gets the same ones.
"""

import zlib

import numpy as np
import torch


@torch.no_grad()
def fill(network):
    """Fills the parameters of a network, not its buffers, and returns it ready for inference."""
    for name, parameter in network.named_parameters():
        n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(parameter.shape)).astype(np.float32)
        last = name.rsplit(".", 1)[-1]
        if parameter.dim() == 1 and (last == "weight" or last.startswith("gamma")):
            n = 1 + np.float32(0.02) * n
        elif name.endswith("sampling_offsets.bias"):
            n *= np.float32(2)
        elif parameter.dim() >= 2:
            n *= np.float32(float(np.prod(parameter.shape[1:])) ** -0.5)
        else:
            n *= np.float32(0.1)
        parameter.copy_(torch.from_numpy(n))
    return network.eval()
