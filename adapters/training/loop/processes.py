"""The processes of a training: one alone, or those that `torchrun` started, one a GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rvos_ensemble.adapters.inference import device as devices


def is_first() -> bool:
    """Whether this process writes files and shows progress."""
    return int(os.environ.get("RANK", 0)) == 0


class Processes:
    """This process among its like.

    Args:
        device: setting `device`; with several processes `auto` and `cuda` take the GPU of this one's number.

    Attributes:
        rank, count: which of how many.
        device: where this one computes.
    """

    def __init__(self, device: str):
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = devices.pick(device)
        if self.device.type == "cuda" and self.count > 1:
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)  # what names no device, as pinned memory and barriers, takes this one

    def __enter__(self) -> Processes:
        if self.count > 1:
            gpu = self.device.type == "cuda"
            distributed.init_process_group("nccl" if gpu else "gloo", device_id=self.device if gpu else None)
        return self

    def __exit__(self, *_) -> None:
        if self.count > 1:
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """See `is_first`."""
        return is_first()

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over the processes."""
        if self.count == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=True)

    def no_sync(self, module: nn.Module):
        """In this context gradients stay with each process, to be averaged with those that follow."""
        return module.no_sync() if self.count > 1 else contextlib.nullcontext()

    def mean(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars averaged over the processes; all must have the same names."""
        values = torch.stack([v.detach().float() for v in terms.values()])
        if self.count > 1:
            distributed.all_reduce(values)
        return dict(zip(terms, (values / self.count).tolist(), strict=True))

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()
