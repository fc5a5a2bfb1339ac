"""Weights averaged over the last steps of a training, which do better than the last ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Averages:
    """An exponential moving average of a network's weights and statistics.

    Args:
        network: whose.
        horizon: steps it reaches back, about; below 1 it follows the network.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> averages = Averages(network, 4)
    >>> _ = nn.init.zeros_(network.weight)
    >>> averages.update(network)  # early on it reaches back less far
    >>> bool(averages.state["weight"].abs() < 0.9)
    True
    """

    def __init__(self, network: nn.Module, horizon: float):
        self.decay = max(0.0, 1 - 1 / horizon) if horizon > 0 else 0.0
        self.count = 0
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes in the weights after a step."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 9))
        old: list[Tensor] = []
        new: list[Tensor] = []
        for name, value in network.state_dict().items():
            mean = self.state[name]
            if mean.is_floating_point():
                old.append(mean)
                new.append(value.detach())
            else:
                mean.copy_(value)
        torch._foreach_lerp_(old, new, 1 - decay)

    def load_into(self, network: nn.Module) -> None:
        """Gives a network of the same kind the averaged weights."""
        network.load_state_dict(self.state)
