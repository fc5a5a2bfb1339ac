"""Copies from the device to the host that run while the device computes the next frame."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class AsyncHostCopy:
    """A copy of a tensor in the memory of the host; the device continues to work while it is made."""

    def __init__(self, x: Tensor):
        self.event = None
        if x.is_cuda:
            self.host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
            self.host.copy_(x, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record(torch.cuda.current_stream(x.device))
        else:
            self.host = x

    def numpy(self) -> np.ndarray:
        """The copy, once it is complete."""
        if self.event is not None:
            self.event.synchronize()
        return self.host.numpy()


class HostMask:
    """The map of one sequence in a batch; `np.asarray` waits for the copy.

    Args:
        batch: [B, objects, H, W].
        row: index of the identity bank in the batch.
        place: index of the object in the bank.
    """

    def __init__(self, batch: AsyncHostCopy, row: int, place: int):
        self.batch, self.index = batch, (row, place)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.batch.numpy()[self.index], dtype=dtype)
