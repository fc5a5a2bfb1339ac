"""An exponential moving average of the weights, which usually scores better than the last weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragedWeights:
    """An exponential moving average of a network's weights; buffers that are not floating point are copied.

    Early in a run the horizon is shorter, so that the average does not remember the initial weights.

    Args:
        network: the network whose weights are averaged.
        horizon: approximate number of steps that the average covers; below 1 it follows the network.

    >>> network = nn.Linear(1, 1, bias=False)
    >>> averages = AveragedWeights(network, 4)
    >>> _ = nn.init.zeros_(network.weight)
    >>> averages.update(network)
    >>> bool(averages.state["weight"].abs() < 0.9)
    True
    """

    def __init__(self, network: nn.Module, horizon: float):
        self.decay = max(0.0, 1 - 1 / horizon) if horizon > 0 else 0.0
        self.count = 0
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Updates the average after an optimizer step."""
        self.count += 1
        decay = min(self.decay, self.count / (self.count + 9))
        means: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in network.state_dict().items():
            mean = self.state[name]
            if mean.is_floating_point():
                means.append(mean)
                values.append(value.detach())
            else:
                mean.copy_(value)
        torch._foreach_lerp_(means, values, 1 - decay)

    def load_into(self, network: nn.Module) -> None:
        """Loads the averaged weights into a network of the same architecture."""
        network.load_state_dict(self.state)
