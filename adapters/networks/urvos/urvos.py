"""URVOS: one network that segments what a sentence says in a frame alone, and again with what it remembers of others.

    network = URVOS(VARIANTS["urvos_nano"], words)
    maps = network.encode(frames)                            # [T, 3, h, w], once per clip, knows no text
    text = network.read(["the red disc", ...])               # E sentences
    logits = network.answer(maps, text)                      # [E, T, h / 4, w / 4], each frame by itself
    memory = network.remember(maps, logits.sigmoid(), times, length)
    logits = network.answer(maps, text, memory, times, length)

No weights were published, so the names of the parameters are our own; the image backbone has those of torchvision.

Source: Seo et al., "URVOS: Unified Referring Video Object Segmentation Network with a Large-Scale Benchmark",
ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.backbones.resnet import ResNet
from rvos_ensemble.adapters.networks.layers import to_map, to_tokens
from rvos_ensemble.adapters.networks.urvos.attention import CrossModalAttention, Memory, MemoryAttention, SelfAttention
from rvos_ensemble.adapters.networks.urvos.words import LONGEST, PADDING, Words

MOST_WORDS = 1 << 24  # bytes of all words
LARGEST = 1 << 14  # short side of a frame, pixels


@dataclass(frozen=True)
class Variant:
    """The sizes of a network.

    Attributes:
        blocks: of each stage of the ResNet; three stages end at stride 16, four at 32.
        stem: channels of the ResNet's first layer.
        word: channels of a word.
        cross: of the cross-modal attention, on the last stage's map.
        key, value: of the memory attention, on the map before.
        pyramid: of the decoder.
        short_side: of the frames it is trained on.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)  # ResNet-50
    stem: int = 64
    word: int = 1000
    cross: int = 512
    key: int = 128
    value: int = 512
    pyramid: int = 256
    short_side: int = 320

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Variant:
        """The sizes that weights have.

        Raises:
            KeyError, IndexError, TypeError, ValueError, RuntimeError: a weight that says one is missing or damaged.
        """
        parts = [k.split(".") for k in weights if k.startswith("backbone.layer") and k.count(".") > 2]
        stages = sorted({p[1] for p in parts})
        short_side = int(weights["short_side"])
        if not 0 < short_side <= LARGEST:
            raise ValueError(f"short_side {short_side}")
        return cls(
            tuple(len({p[2] for p in parts if p[1] == stage}) for stage in stages),
            len(weights["backbone.conv1.weight"]),
            weights["word.weight"].shape[1],
            len(weights["cross.query.word.weight"]),
            len(weights["memory.key.weight"]),
            len(weights["memory.present.weight"]),
            len(weights["decoder.cross.weight"]),
            short_side,
        )


VARIANTS = {
    "urvos": Variant(),
    "urvos_nano": Variant((2, 2, 2), 16, 64, 64, 32, 64, 48, 96),
}


@dataclass(frozen=True)
class Text:
    """E sentences: words [E, L, C], and bool [E, L], True where there is none."""

    words: Tensor
    padding: Tensor

    def __getitem__(self, rows: slice | Sequence[int]) -> Text:
        return Text(self.words[rows], self.padding[rows])


class URVOS(nn.Module):
    """See the top of this file."""

    def __init__(self, variant: Variant, words: Words):
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
        """Normalised frames [T, 3, h, w] to a map [T, C, h / stride, w / stride] of each stage."""
        return self.backbone(frames)

    def read(self, sentences: Sequence[str]) -> Text:
        """Sentences as sums of word and position embeddings."""
        return self.embed(*(x.to(self.word.weight.device) for x in self.words.encode(sentences)))

    def embed(self, ids: Tensor, padding: Tensor) -> Text:
        """The same from what `Words.encode` gives."""
        return Text(self.word(ids) + self.position.weight[: ids.shape[1]], padding)

    def remember(self, maps: Sequence[Tensor], masks: Tensor, times: Tensor, length: int) -> Memory:
        """Frames and the masks of E sequences, probabilities [E, T, h / 4, w / 4], as memory."""
        return self.memory.remember(maps[-2], masks, times, length)

    def answer(
        self,
        maps: Sequence[Tensor],
        text: Text,
        memory: Memory | None = None,
        times: Tensor | None = None,
        length: int = 1,
    ) -> Tensor:
        """Mask logits of E sentences in T frames, [E, T, h / 4, w / 4].

        Args:
            maps: of `encode`.
            text: of `read`.
            memory: of E sequences, one a sentence; None: every frame by itself.
            times: indices of the frames in their clip, float [T]; with a memory.
            length: frames of the clip.
        """
        cross = self.cross(maps[-1], text.words, text.padding)
        recalled = None if memory is None else self.memory(maps[-2], memory, times, length)
        return self.decoder(maps, cross, recalled).unflatten(0, (len(text.words), -1))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Decoder(nn.Module):
    """A feature pyramid from what the words say (coarsest), what is remembered (one finer) and the frame (all).

    The levels are then balanced: their mean at the level of the memory, refined by self-attention, is added to the
    finest, from which the mask is made.

    Source: Lin et al., FPN, CVPR 2017; Pang et al., "Libra R-CNN", CVPR 2019 (balanced feature pyramid).
    """

    def __init__(self, channels: Sequence[int], cross: int, pyramid: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, pyramid, 1) for c in channels)
        self.cross = nn.Conv2d(cross, pyramid, 3, padding=1)
        self.refine = nn.ModuleList(Residual(pyramid) for _ in channels[1:])
        self.balance = SelfAttention(pyramid, pyramid)
        self.head = nn.Sequential(
            nn.Conv2d(pyramid, pyramid // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(pyramid // 2, 1, 3, padding=1),
        )

    def forward(self, maps: Sequence[Tensor], cross: Tensor, recalled: Tensor | None) -> Tensor:
        """Logits [E * T, h / 4, w / 4].

        Args:
            maps: of T frames, finest first.
            cross: map [E * T, C, h, w] of the coarsest size.
            recalled: map [E * T, pyramid, h, w] of the size before; None: nothing is remembered.
        """
        many = len(cross) // len(maps[0])
        levels: list[Tensor] = []  # coarsest first
        for i in reversed(range(len(maps))):
            x = self.lateral[i](maps[i]).repeat(many, 1, 1, 1)
            x = x + (F.interpolate(levels[-1], x.shape[-2:]) if levels else self.cross(cross))
            if recalled is not None and i == len(maps) - 2:
                x = x + recalled
            levels.append(self.refine[i - 1](x) if i else x)
        size, finest = levels[1].shape[-2:], levels[-1].shape[-2:]
        mean = sum(F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size[1] else _grow(x, size) for x in levels)
        mean = to_map(self.balance(to_tokens(mean / len(levels))), size)
        return self.head(sum(_grow(x, finest) for x in (levels[-1], mean))).squeeze(1)


def _grow(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def load(path: str | Path) -> URVOS:
    """The network that a checkpoint holds, ready for inference.

    Raises:
        InputError: no file, damaged, or weights that are missing, unknown or of another shape.
    """
    weights = read_weights(path, "weights of URVOS")
    try:
        variant, words = Variant.of(weights), Words.unpack(_vocabulary(weights["vocabulary"]))
        with torch.device("meta"):
            network = URVOS(variant, words)
    except Exception as error:  # a weight is missing or has another form, or no network can be built of the sizes
        raise InputError(f"{path}: not weights of URVOS ({reason(error)} is missing or damaged)") from error
    problems = mismatches(weights, {k: tuple(v.shape) for k, v in network.state_dict().items()})
    if problems:
        raise InputError(f"{path}: weights of URVOS, but {p}" for p in problems)
    plain = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    network.load_state_dict(plain, assign=True)
    return network.requires_grad_(False).eval()


def _vocabulary(packed: Tensor) -> Tensor:
    """The bytes of the words.

    Raises:
        ValueError: something else.
    """
    if packed.dtype != torch.uint8 or packed.dim() != 1 or len(packed) > MOST_WORDS:
        raise ValueError(f"vocabulary of {packed.dtype} {tuple(packed.shape)}")
    return packed
