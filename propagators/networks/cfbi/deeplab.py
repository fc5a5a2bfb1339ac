"""DeepLabV3+ on a dilated ResNet: the feature extractor of CFBI and CFBI+.

Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.layers import FrozenBatchNorm2d
from rvos_ensemble.propagators.networks.cfbi.resampling import conv_of_upsampled
from rvos_ensemble.propagators.networks.cfbi.sizes import CFBISizes

RATES = (2, 4, 8)  # dilation of the blocks of the last stage, which keeps stride 16


class DilatedResNet(ResNet):
    """ResNet whose last stage has stride 16, with dilated convolutions instead of a stride."""

    def __init__(self, blocks: tuple[int, ...], stem: int):
        super().__init__(blocks, stem)
        for block, rate in zip(self.layer4, RATES, strict=True):
            block.conv2.stride, block.conv2.dilation, block.conv2.padding = (1, 1), (rate, rate), (rate, rate)
        self.layer4[0].downsample[0].stride = (1, 1)


class DilatedConv(nn.Module):
    """A branch of the pyramid: dilated convolution, batch norm, ReLU."""

    def __init__(self, c_in: int, c_out: int, rate: int):
        super().__init__()
        self.atrous_conv = dilated(c_in, c_out, rate)
        self.bn = FrozenBatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h, w]."""
        return self.bn(self.atrous_conv(x)).relu_()


def dilated(c_in: int, c_out: int, rate: int) -> nn.Conv2d:
    """A 3x3 convolution with that dilation, which keeps the size; rate 1 means a 1x1 convolution."""
    kernel, padding = (1, 0) if rate == 1 else (3, rate)
    return nn.Conv2d(c_in, c_out, kernel, padding=padding, dilation=rate, bias=False)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: convolutions of four dilations and the mean of the map."""

    def __init__(self, c_in: int, channels: int):
        super().__init__()
        self.aspp1, self.aspp2, self.aspp3, self.aspp4 = (DilatedConv(c_in, channels, r) for r in (1, 6, 12, 18))
        self.global_avg_pool = nn.Sequential(
            nn.Identity(), nn.Conv2d(c_in, channels, 1, bias=False), FrozenBatchNorm2d(channels)
        )
        self.conv1 = nn.Conv2d(5 * channels, channels, 1, bias=False)
        self.bn1 = FrozenBatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, channels, h, w]."""
        mean = self.global_avg_pool(x.mean((2, 3), keepdim=True)).relu_().expand(-1, -1, *x.shape[-2:])
        x = torch.cat([self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x), mean], 1)
        return self.bn1(self.conv1(x)).relu_()


class Decoder(nn.Module):
    """From stride 16 to stride 4, with a shortcut."""

    def __init__(self, channels: int, low: int, shortcut: int):
        super().__init__()
        self.conv1 = nn.Conv2d(low, shortcut, 1, bias=False)
        self.bn1 = FrozenBatchNorm2d(shortcut)
        layers = nn.Conv2d(channels + shortcut, channels, 3, padding=1, bias=False), FrozenBatchNorm2d(channels)
        more = nn.Conv2d(channels, channels, 3, padding=1, bias=False), FrozenBatchNorm2d(channels)
        self.last_conv = nn.Sequential(*layers, nn.ReLU(), nn.Identity(), *more, nn.ReLU())

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        """Maps x [B, channels, h, w] and low [B, low, H, W] to [B, channels, H, W]."""
        first, channels = self.last_conv[0], x.shape[1]
        shortcut = self.bn1(self.conv1(low)).relu_()
        y = F.conv2d(shortcut, first.weight[:, channels:], first.bias, padding=1)
        y = y + conv_of_upsampled(x, first.weight[:, :channels], tuple(low.shape[-2:]), "bilinear")
        return self.last_conv[1:](y)


class DeepLab(nn.Module):
    """Images to maps at strides 4, 8 and 16."""

    def __init__(self, sizes: CFBISizes):
        super().__init__()
        self.backbone = DilatedResNet(sizes.blocks, sizes.stem)
        low, _, _, deep = self.backbone.channels
        self.aspp = ASPP(deep, sizes.aspp)
        self.decoder = Decoder(sizes.aspp, low, sizes.shortcut)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image [B, 3, H, W] to the decoder's map, the backbone's at strides 4 and 8, and the pyramid's at 16."""
        low, middle, _, deep = self.backbone(image)
        pyramid = self.aspp(deep)
        return self.decoder(pyramid, low), low, middle, pyramid
