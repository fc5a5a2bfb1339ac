"""The processes of a training run: a single one, or those that `torchrun` started, one per GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from rvos_ensemble.adapters.inference import device as devices


def is_first() -> bool:
    """Whether this process has rank 0: it writes files and shows progress."""
    return int(os.environ.get("RANK", 0)) == 0


class Processes:
    """This process and its process group.

    Args:
        device: the setting `device`; with several processes, `auto` and `cuda` select the GPU of the local rank.

    Attributes:
        rank, count: rank of this process and size of the group.
        device: the device of this process.
    """

    def __init__(self, device: str):
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = devices.pick(device)
        if self.device.type == "cuda" and self.count > 1:
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)  # pinned memory and barriers use the current device

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
        """Wraps a module so that its gradients are averaged over the processes."""
        if self.count == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=True)

    def no_sync(self, module: nn.Module):
        """A context in which gradients are accumulated locally and not averaged yet."""
        return module.no_sync() if self.count > 1 else contextlib.nullcontext()

    def mean(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Averages scalars over the processes; all processes must pass the same names."""
        values = torch.stack([v.detach().float() for v in terms.values()])
        if self.count > 1:
            distributed.all_reduce(values)
        return dict(zip(terms, (values / self.count).tolist(), strict=True))

    def wait(self) -> None:
        """Waits until all processes have reached this call."""
        if self.count > 1:
            distributed.barrier()
