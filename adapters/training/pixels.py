"""Pre-training of a small backbone and text encoder: which pixels does a sentence name?

It takes the place of ImageNet and of the language model's own pre-training, which nobody has for nets of this size: the
features of a pixel and those of a sentence are to agree where the sentence names the pixel, and to tell by themselves
which shape, colour and pattern its object is said to have. Per sentence a hundredth of the work of the whole network,
and what ReferFormer, MUTR and SOC start from (`pretrained=OUT/weights.pth`):

    python -m adapters.training.pixels resnet_nano OUT key=value...
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from adapters.networks import text
from adapters.networks.backbones import Backbone
from adapters.networks.layers import sine_map, to_map
from adapters.training.language import SLOWLY, spread_words
from adapters.training.looks import KINDS
from adapters.training.losses import Target, dice, focal
from adapters.training.norms import unfreeze_norms, without_counts
from adapters.training.parts import PARTS, load_parts
from adapters.training.samples import RenderedClips
from adapters.training.segmenters import DEFAULTS, PICTURE, SHORT, Asked, pad
from adapters.training.trainee import Trainee

FRAMES = 4  # of a clip


class PixelNames(nn.Module):
    """Features of pixels, at stride 4, and of sentences.

    Args:
        backbone: one of the small ones.
        text_encoder: RoBERTa.
        width: of the features.
    """

    def __init__(self, backbone: str, text_encoder: nn.Module, width: int = 64):
        super().__init__()
        self.backbone = nn.ModuleList([Backbone(backbone)])
        self.text_encoder = text_encoder
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.backbone[0].channels)
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in self.laterals)
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.pixel = nn.Conv2d(width, width, 1)
        self.sentence = nn.Linear(text_encoder.config.hidden_size, width)
        self.bias = nn.Parameter(torch.tensor(-3.0))
        self.kinds = nn.ModuleList(nn.Conv2d(width, len(words), 1) for words in KINDS.values())

    def forward(self, frames: Tensor, clips: int, ids: Tensor, padding: Tensor) -> tuple[Tensor, list[Tensor]]:
        """How well pixels and sentences agree, logits [E, T, h4, w4], clip by clip; and what each pixel is
        said to be, by kinds of words [clips, T, words, h4, w4].

        Args:
            frames: [clips * T, 3, h, w].
            clips: how many.
            ids: int64 [E, L], equally many of each clip.
            padding: bool [E, L].
        """
        maps = self.backbone[0](frames, None, clips)
        size = maps[0].shape[-2:]
        pixels = to_map(sine_map(size, self.pixel.in_channels, frames.device)[None], size)
        for x, lateral, norm in zip(maps, self.laterals, self.norms, strict=True):
            pixels = pixels + F.interpolate(norm(lateral(x)), size, mode="bilinear", align_corners=False)
        pixels = F.relu(self.mix(F.relu(pixels)))
        kinds = [head(pixels).unflatten(0, (clips, -1)) for head in self.kinds]
        pixels = self.pixel(pixels).unflatten(0, (clips, -1))  # [clips, T, C, h, w]
        states = self.text_encoder(input_ids=ids, attention_mask=(~padding).long()).last_hidden_state
        there = (~padding)[..., None]
        sentences = self.sentence((states * there).sum(1) / there.sum(1)).unflatten(0, (clips, -1))
        logits = torch.einsum("btchw,bec->bethw", pixels, sentences) * pixels.shape[2] ** -0.5
        return logits.flatten(0, 1) + self.bias, kinds


class Pixels(Trainee):
    """The pre-training; see `DEFAULTS` of segmenters for its settings."""

    def __init__(self, backbone: str, clips: Dataset, seed: int = 0, expressions: int = 8):
        self.clips, self.seed, self.expressions = clips, seed, expressions
        self.tokenizer = text.load_tokenizer(text.ROBERTA, str(text.ROBERTA.small))
        torch.manual_seed(seed)
        words = text.roberta(self.tokenizer.get_vocab_size(), DEFAULTS["text_layers"], hidden=DEFAULTS["text_width"])
        self.network = PixelNames(backbone, spread_words(words))
        unfreeze_norms(self.network)

    def samples(self) -> Dataset:
        return Asked(self.clips, self.seed, self.expressions, self.tokenizer, SHORT)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return pad(samples)

    def rates(self) -> dict[str, float]:
        return {"text_encoder.": 2 * SLOWLY}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        self.network.text_encoder.eval()
        logits, kinds = self.network(batch["frames"], batch["clips"], batch["ids"], batch["padding"])
        masks = Target.of(batch["masks"], tuple(logits.shape[-2:])).masks
        terms = {"mask": 20 * focal(logits, masks).mean(), "dice": dice(logits.flatten(1), masks.flatten(1)).mean()}
        return terms | {"kinds": self._kinds(kinds, batch["ids"], masks)}

    def _kinds(self, kinds: list[Tensor], ids: Tensor, masks: Tensor) -> Tensor:
        """Cross-entropy of shape, colour and pattern over the pixels of objects whose sentence tells them."""
        total, said = masks.new_zeros(()), 0
        for logits, words in zip(kinds, KINDS.values(), strict=True):
            numbers = torch.tensor([self.tokenizer.token_to_id(word) for word in words], device=ids.device)
            rows, which = (ids[..., None] == numbers).any(1).nonzero(as_tuple=True)
            clip = rows // (len(ids) // len(logits))
            share = masks[rows] / masks[rows].sum((1, 2, 3), keepdim=True).clamp(min=1)
            wrong = -logits.log_softmax(2)[clip, :, which]  # [rows, T, h4, w4]
            total, said = total + (wrong * share).sum(), said + len(rows)
        return total / max(said, 1)

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"model": {k: v for k, v in without_counts(state).items() if k.startswith(PARTS)}}


def main(arguments: list[str]) -> None:
    """Pre-trains a backbone: its name, a folder, settings of the loop, and `pretrained`, a file to go on from."""
    from omegaconf import OmegaConf

    from adapters.training.loop import fit

    backbone, out, *given = arguments
    settings = {"steps": 1000, "batch": 5, "lr": 2e-3, "ema": 0.05} | dict(OmegaConf.from_dotlist(given))
    seed, before = settings.get("seed", 0), settings.pop("pretrained", None)
    trainee = Pixels(backbone, RenderedClips(seed, FRAMES, PICTURE, spread=True), seed)
    if before:
        load_parts(trainee.network, before)
    fit(trainee, settings, Path(out))


if __name__ == "__main__":
    main(sys.argv[1:])
