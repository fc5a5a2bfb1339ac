"""What a training is of: a network, its samples and its losses. `loop.py` trains it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Trainee:
    """Subclass it for each kind of network, give it `network`, and pass it to `loop.fit`.

    Attributes:
        network: parameters under the names of the official checkpoint. Those that need no gradient stay as they are.
    """

    network: nn.Module

    def samples(self) -> torch.utils.data.Dataset:
        """Samples by number, without end: `samples[i]` depends on the seed and i alone, so a resumed run repeats it."""
        raise NotImplementedError

    def collate(self, samples: list) -> Any:
        """Samples to a batch: tensors, or dicts, lists and tuples of them, on the CPU."""
        raise NotImplementedError

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """The terms of the loss, each a weighted scalar; their sum is minimised.

        Args:
            batch: from `collate`, its tensors on the network's device.
            step: 0 .. steps - 1. PyTorch's random numbers are seeded by it before the call.
        """
        raise NotImplementedError

    def rates(self) -> dict[str, float]:
        """Relative learning rates, by how names of parameters begin; 0 for what stays as it is, 1 for all others."""
        return {}

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The optimizer's parameter groups; biases, norms and embeddings do not decay.

        Args:
            lr: peak learning rate.
            weight_decay: of what decays.
        """
        embeddings = {id(m.weight) for m in self.network.modules() if isinstance(m, nn.Embedding)}
        rates = self.rates()
        groups: dict[tuple[float, float], list] = {}
        for name, weight in self.network.named_parameters():
            rate = next((r for start, r in rates.items() if name.startswith(start)), 1.0)
            weight.requires_grad_(weight.requires_grad and rate > 0)
            if weight.requires_grad:
                decay = 0.0 if weight.dim() < 2 or id(weight) in embeddings else weight_decay
                groups.setdefault((rate, decay), []).append(weight)
        return [{"params": p, "lr": lr * rate, "weight_decay": decay} for (rate, decay), p in groups.items()]

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures of a network with the averaged weights, such as {"J&F": 0.71}; {} where there is nothing to measure.

        Args:
            network: a copy of the trainee's, in evaluation mode.
        """
        return {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        """What `weights.pth` holds, in the layout of the official code.

        Args:
            state: the averaged weights by name.
        """
        return {"state_dict": state}
