"""The layers of CFBI's ensembler, in the form in which they need few passes over their maps.

A gate multiplies every channel of a map by a number. A gate in front of a 1x1 convolution is merged into its weights,
one set of weights per object, and so is the gated channel transformation, whose factors depend on the energy of each
channel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.propagators.networks.cfbi.deeplab import dilated
from rvos_ensemble.propagators.networks.cfbi.mixture import Mixture, energy


class InstanceGate(nn.Module):
    """Instance-level attention: a factor in 0..2 for each channel, from the means of the embeddings of an object."""

    def __init__(self, attention: int, channels: int):
        super().__init__()
        self.IA = nn.Linear(attention, channels)

    def forward(self, means: Tensor) -> Tensor:
        """[B, attention] to [B, channels]."""
        return 1 + self.IA(means).tanh()


class GCT(nn.Module):
    """Gated channel transformation: a factor in 0..2 for each channel, from the energies of all channels.

    Source: Yang et al., "Gated Channel Transformation for Visual Recognition", CVPR 2020.
    """

    eps = 1e-5

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, energy: Tensor) -> Tensor:
        """Energies [B, C], the sum of squares of each channel, to factors [B, C]."""
        alpha, gamma, beta = (p.flatten() for p in (self.alpha, self.gamma, self.beta))
        x = (energy + self.eps).sqrt() * alpha
        norm = gamma / (x.square().mean(1, keepdim=True) + self.eps).sqrt()
        return 1 + (x * norm + beta).tanh()


def pointwise(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution with weights of its own for each object: [B, n, C] and [B, C, h, w] to [B, n, h, w]."""
    return torch.bmm(weight.to(x.dtype), x.flatten(2)).unflatten(2, x.shape[-2:])


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a skip connection, after two gates on the channels.

    Args:
        c_in, c_out: channels.
        stride, dilation: of the 3x3 convolution.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, dilation: int):
        super().__init__()
        width, self.stride = c_out // 4, stride
        self.GCT1 = GCT(c_in)
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.GroupNorm(32, width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.GroupNorm(32, width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.GroupNorm(32, c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.GroupNorm(32, c_out))

    def forward(self, x: Tensor | Mixture, gate: Tensor) -> Tensor:
        """Map to [B, c_out, h / stride, w / stride].

        Args:
            x: [B, c_in, h, w], or the same as a `Mixture`.
            gate: factors [B, c_in] of the channels.
        """
        mixed = isinstance(x, Mixture)
        scale = gate * self.GCT1((x.energy() if mixed else energy(x)) * gate.square())
        weights = [self.conv1.weight.flatten(1) * scale[:, None]]  # [B, width, c_in]
        if mixed:  # both convolutions in one pass; a mixture never has a stride
            weights.append(self.downsample[0].weight.flatten(1) * gate[:, None])
            y, skip = x.pointwise(torch.cat(weights, 1)).split([len(self.conv1.weight), len(self.conv3.weight)], 1)
            skip = self.downsample[1](skip)
        else:
            y, skip = pointwise(weights[0], x), None
        y = self.bn1(y).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        if skip is not None:
            return y.add_(skip).relu_()
        if self.downsample is None:
            return torch.addcmul(y, x, gate[:, :, None, None].to(x.dtype)).relu_()
        weight = self.downsample[0].weight.flatten(1) * gate[:, None]
        strided = x[:, :, :: self.stride, :: self.stride].contiguous()
        return y.add_(self.downsample[1](pointwise(weight, strided))).relu_()


class GatedBranch(nn.Module):
    """A branch of the ensembler's pyramid."""

    def __init__(self, c_in: int, c_out: int, rate: int):
        super().__init__()
        self.GCT = GCT(c_in)
        self.atrous_conv = dilated(c_in, c_out, rate)
        self.bn = nn.GroupNorm(c_out // 4, c_out)

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        """Map [B, c_in, h, w] and its energies [B, c_in] to [B, c_out, h, w]."""
        return self.bn(self.atrous_conv(x * self.GCT(squares)[:, :, None, None].to(x.dtype))).relu_()


class GatedASPP(nn.Module):
    """Atrous spatial pyramid pooling with gated channel transformations, from 2 c to c channels."""

    def __init__(self, channels: int):
        super().__init__()
        c_in, width = 2 * channels, channels // 2
        self.aspp1, self.aspp2, self.aspp3, self.aspp4 = (GatedBranch(c_in, width, r) for r in (1, 6, 12, 18))
        self.global_avg_pool = nn.Sequential(nn.Identity(), nn.Conv2d(c_in, width, 1, bias=False))
        self.GCT = GCT(5 * width)
        self.conv1 = nn.Conv2d(5 * width, channels, 1, bias=False)
        self.bn1 = nn.GroupNorm(32, channels)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Map [B, 2 c, h, w] with factors [B, 2 c] to [B, c, h, w]."""
        x = x * gate[:, :, None, None].to(x.dtype)
        squares = energy(x)
        mean = self.global_avg_pool(x.mean((2, 3), keepdim=True)).relu_().expand(-1, -1, *x.shape[-2:])
        parts = [branch(x, squares) for branch in (self.aspp1, self.aspp2, self.aspp3, self.aspp4)]
        x = torch.cat([*parts, mean], 1)
        weight = self.conv1.weight.flatten(1) * self.GCT(energy(x))[:, None]
        return F.relu(self.bn1(pointwise(weight, x)), inplace=True)
