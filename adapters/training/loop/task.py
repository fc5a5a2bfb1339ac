"""What a training run trains: a network with its samples, losses and validation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class TrainingTask:
    """Base class of all training tasks: subclass it, set `network`, and pass an instance to `loop.fit`.

    Attributes:
        network: its parameters have the names of the official checkpoint. Parameters that need no gradient are not
            trained.
    """

    network: nn.Module

    def samples(self) -> torch.utils.data.Dataset:
        """An endless map-style data set.

        `samples()[i]` depends on the seed and on i alone, so that a resumed run draws the same samples.
        """
        raise NotImplementedError

    def collate(self, samples: list) -> Any:
        """Collates samples into a batch: tensors on the CPU, or dicts, lists and tuples of them."""
        raise NotImplementedError

    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """The weighted terms of the loss as scalars; their sum is minimised.

        Args:
            batch: from `collate`, with its tensors on the network's device.
            step: 0 .. steps - 1. The loop seeds PyTorch's random numbers with it before the call.
        """
        raise NotImplementedError

    def rates(self) -> dict[str, float]:
        """Relative learning rates {prefix of parameter names: rate}; 0 freezes, parameters without a prefix get 1."""
        return {}

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The optimizer's parameter groups; biases, norms and embeddings do not decay.

        Args:
            lr: peak learning rate.
            weight_decay: weight decay of all other parameters.
        """
        embeddings = {id(m.weight) for m in self.network.modules() if isinstance(m, nn.Embedding)}
        rates = self.rates()
        groups: dict[tuple[float, float], list] = {}
        for name, weight in self.network.named_parameters():
            rate = next((r for prefix, r in rates.items() if name.startswith(prefix)), 1.0)
            weight.requires_grad_(weight.requires_grad and rate > 0)
            if weight.requires_grad:
                decay = 0.0 if weight.dim() < 2 or id(weight) in embeddings else weight_decay
                groups.setdefault((rate, decay), []).append(weight)
        return [{"params": p, "lr": lr * rate, "weight_decay": decay} for (rate, decay), p in groups.items()]

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Validation metrics such as {"J&F": 0.71}; {} if the task has no validation data.

        Args:
            network: a copy of `self.network` with the averaged weights, in evaluation mode.
        """
        return {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        """The content of `weights.pth`, in the layout of the official code.

        Args:
            state: the averaged weights by name.
        """
        return {"state_dict": state}
