"""URVOS: one network that segments an expression in a single frame, and again with a memory of other frames.

    network = URVOS(VARIANTS["urvos_nano"], words)
    maps = network.encode(frames)                            # of frames [T, 3, h, w], once per clip, without text
    text = network.read(["the red disc", ...])               # of E expressions
    logits = network.answer(maps, text)                      # [E, T, h / 4, w / 4], each frame on its own
    memory = network.remember(maps, logits.sigmoid(), times, length)
    logits = network.answer(maps, text, memory, times, length)

No weights were published, so the parameter names are our own; those of the image backbone are torchvision's.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.layers import to_map, to_tokens
from rvos_ensemble.adapters.networks.urvos.attention import (
    CrossModalAttention,
    Memory,
    MemoryAttention,
    ResidualSelfAttention,
)
from rvos_ensemble.adapters.networks.urvos.vocabulary import LONGEST, PADDING, Vocabulary


@dataclass(frozen=True)
class URVOSVariant:
    """The sizes of a network; all but `blocks` and `short_side` are numbers of channels.

    Attributes:
        blocks: number of blocks per stage of the ResNet; three stages end at stride 16, four at 32.
        stem: of the ResNet's first layer.
        word: of a word embedding.
        cross: of the cross-modal attention, on the map of the last stage.
        key, value: of the memory attention, on the map before the last.
        pyramid: of the decoder.
        short_side: of the frames that it is trained on, pixels.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)  # ResNet-50
    stem: int = 64
    word: int = 1000
    cross: int = 512
    key: int = 128
    value: int = 512
    pyramid: int = 256
    short_side: int = 320


VARIANTS = {
    "urvos": URVOSVariant(),
    "urvos_nano": URVOSVariant((2, 2, 2), 16, 64, 64, 32, 64, 48, 96),
}


@dataclass(frozen=True)
class Sentences:
    """E expressions as embedded words.

    Attributes:
        words: float [E, L, C].
        padding: bool [E, L], True where the sentence has ended.
    """

    words: Tensor
    padding: Tensor

    def __getitem__(self, rows: slice | Sequence[int]) -> Sentences:
        return Sentences(self.words[rows], self.padding[rows])


class URVOS(nn.Module):
    """The network of both stages; the docstring of this module shows its use.

    Args:
        variant: its sizes.
        words: its vocabulary, which is stored among the weights.
    """

    def __init__(self, variant: URVOSVariant, words: Vocabulary):
        super().__init__()
        self.variant, self.words = variant, words
        self.backbone = ResNet(variant.blocks, variant.stem)
        *_, middle, last = self.backbone.channels
        self.word = nn.Embedding(len(words), variant.word, PADDING)
        self.position = nn.Embedding(LONGEST, variant.word)
        self.cross = CrossModalAttention(last, variant.word, variant.cross)
        fold = 2 ** (len(variant.blocks) - 2)  # the mask lies at stride 4
        self.memory = MemoryAttention(middle, fold, variant.key, variant.value, variant.pyramid)
        self.decoder = Decoder(self.backbone.channels, variant.cross, variant.pyramid)
        self.register_buffer("vocabulary", words.packed())
        self.register_buffer("short_side", torch.tensor(variant.short_side))

    def input_size(self, size: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
        """(h, w) of the input for frames of (H, W): the nearest multiples of the last stride."""
        stride = 2 ** (len(self.variant.blocks) + 1)
        scale = (short_side or self.variant.short_side) / min(size)
        return tuple(max(2, round(n * scale / stride)) * stride for n in size)

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Normalised frames [T, 3, h, w] to one map [T, C, h / stride, w / stride] per stage of the backbone."""
        return self.backbone(frames)

    def read(self, sentences: Sequence[str]) -> Sentences:
        """E sentences as sums of word and position embeddings."""
        return self.embed(*(x.to(self.word.weight.device) for x in self.words.encode(sentences)))

    def embed(self, ids: Tensor, padding: Tensor) -> Sentences:
        """The same from the ids int64 [E, L] and padding bool [E, L] that `Vocabulary.encode` returns."""
        return Sentences(self.word(ids) + self.position.weight[: ids.shape[1]], padding)

    def remember(self, maps: Sequence[Tensor], masks: Tensor, times: Tensor, length: int) -> Memory:
        """A memory of T frames under the masks of E sequences.

        Args:
            maps: of `encode`.
            masks: probabilities, float [E, T, h / 4, w / 4].
            times: indices of the frames in their clip, float [T].
            length: number of frames of the clip.
        """
        return self.memory.remember(maps[-2], masks, times, length)

    def answer(
        self,
        maps: Sequence[Tensor],
        text: Sentences,
        memory: Memory | None = None,
        times: Tensor | None = None,
        length: int = 1,
    ) -> Tensor:
        """Mask logits of E sentences in T frames, [E, T, h / 4, w / 4].

        Args:
            maps: of `encode`.
            text: of `read`.
            memory: of E sequences, one per sentence; None segments every frame on its own.
            times: indices of the frames in their clip, float [T]; only used with a memory.
            length: number of frames of the clip.
        """
        cross = self.cross(maps[-1], text.words, text.padding)
        recalled = None if memory is None else self.memory(maps[-2], memory, times, length)
        return self.decoder(maps, cross, recalled).unflatten(0, (len(text.words), -1))


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, h, w] to the same."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Decoder(nn.Module):
    """A feature pyramid: the words enter at the coarsest level, the memory at the next, the frame at all of them.

    The levels are then balanced: their mean at the level of the memory, refined by self-attention, is added to the
    finest, from which the mask is made.

    Source: Lin et al., FPN, CVPR 2017; Pang et al., "Libra R-CNN", CVPR 2019 (balanced feature pyramid).
    """

    def __init__(self, channels: Sequence[int], cross: int, pyramid: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, pyramid, 1) for c in channels)
        self.cross = nn.Conv2d(cross, pyramid, 3, padding=1)
        self.refine = nn.ModuleList(Residual(pyramid) for _ in channels[1:])
        self.balance = ResidualSelfAttention(pyramid, pyramid)
        self.head = nn.Sequential(
            nn.Conv2d(pyramid, pyramid // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(pyramid // 2, 1, 3, padding=1),
        )

    def forward(self, maps: Sequence[Tensor], cross: Tensor, recalled: Tensor | None) -> Tensor:
        """Logits [E * T, h / 4, w / 4].

        Args:
            maps: of T frames, finest first.
            cross: of the cross-modal attention, [E * T, C, h, w] at the size of the coarsest map.
            recalled: of the memory, [E * T, pyramid, h, w] at the size of the next finer map; None without a memory.
        """
        expressions = len(cross) // len(maps[0])
        levels: list[Tensor] = []  # coarsest first
        for i in reversed(range(len(maps))):
            x = self.lateral[i](maps[i]).repeat(expressions, 1, 1, 1)  # [E * T, pyramid, h, w]
            x = x + (F.interpolate(levels[-1], x.shape[-2:]) if levels else self.cross(cross))
            if recalled is not None and i == len(maps) - 2:
                x = x + recalled
            levels.append(self.refine[i - 1](x) if i else x)
        size, finest = levels[1].shape[-2:], levels[-1].shape[-2:]
        mean = sum(F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size[1] else _grow(x, size) for x in levels)
        mean = to_map(self.balance(to_tokens(mean / len(levels))), size)
        return self.head(sum(_grow(x, finest) for x in (levels[-1], mean))).squeeze(1)


def _grow(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, h, w] at a larger size."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
