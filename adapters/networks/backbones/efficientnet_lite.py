"""EfficientNet-Lite0, a small classifier of images.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019. The Lite
variants of the authors' code have no squeeze-and-excitation and use ReLU6.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = (  # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
EPS = 1e-3  # of batch normalisation, as in TensorFlow


class SameConv2d(nn.Conv2d):
    """Convolution padded as SAME in TensorFlow: with stride 2, an even size gets its pixel at the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, ceil(h / stride), ceil(w / stride)]."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[:1:-1]]  # of w, then of h
        x = F.pad(x, [p for m in missing for p in (m // 2, m - m // 2)])
        return super().forward(x)


class Block(nn.Module):
    """Expansion, depth-wise convolution and projection, with a shortcut if input and output have the same shape."""

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int, kernel: int):
        super().__init__()
        wide = c_in * expansion
        if expansion > 1:
            self.expand_conv = nn.Conv2d(c_in, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, EPS)
        self.depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, EPS)
        self.project_conv = nn.Conv2d(wide, c_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out, EPS)
        self.expands, self.shortcut = expansion > 1, stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, c_in, h, w] to [B, c_out, h / stride, w / stride]."""
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """Images to logits of the 1000 classes of ImageNet.

    Modules have the names of the official weights, without the leading underscores.
    """

    size = 224  # pixels, of the training

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, EPS)
        blocks, c_in = [], 32
        for expansion, channels, count, stride, kernel in STAGES:
            for i in range(count):
                blocks.append(Block(c_in, channels, expansion, stride if i == 0 else 1, kernel))
                c_in = channels
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(c_in, 1280, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(1280, EPS)
        self.fc = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, H, W], pixels (x - 127) / 128, to logits [B, classes]."""
        x = F.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.bn1(self.conv_head(x)))
        return self.fc(x.mean((2, 3)))


def plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official weights by the names of `EfficientNetLite0`.

    >>> list(plain_names({"_blocks.0._bn1.weight": None}))
    ['blocks.0.bn1.weight']
    """
    return {name.removeprefix("_").replace("._", "."): value for name, value in weights.items()}
