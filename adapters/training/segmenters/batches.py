"""Samples and batches for ReferFormer, MUTR and SOC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.tokenization import tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.training.samples.sample import Sample, same_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TokenizedClips(Dataset):
    """Clips with some of their expressions, resized and tokenized; sample i depends on the arguments and on i alone.

    Args:
        clips: an endless data set of `Sample`.
        seed: seed of the choice of expressions.
        expressions: number of expressions per clip; if a clip has fewer, some are repeated.
        tokenizer: of RoBERTa.
        short_side: of the network's input.
    """

    def __init__(self, clips: Dataset, seed: int, expressions: int, tokenizer: Tokenizer, short_side: int):
        self.clips, self.seed, self.expressions = clips, seed, expressions
        self.tokenizer, self.short_side = tokenizer, short_side

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"frames": [T, 3, h, w], "masks": bool [E, T, H, W], "tokens": E lists of token numbers}."""
        clip = self.clips[index]
        order = np.random.default_rng([self.seed, index]).permutation(len(clip.expressions))
        chosen = [clip.expressions[i] for i in np.resize(order, self.expressions)]
        return {
            "frames": input_frames(clip, self.short_side),
            "masks": torch.stack([torch.from_numpy(clip.ids == own) for _, own in chosen]),
            "tokens": tokenize(self.tokenizer, text.ROBERTA, [sentence for sentence, _ in chosen]),
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Concatenates clips: frames [clips * T, 3, h, w], masks [E, T, H, W], padded token numbers [E, L]."""
    same_size([tuple(sample["masks"].shape[2:]) for sample in samples])
    rows = [row for sample in samples for row in sample["tokens"]]
    length = max(map(len, rows))
    return {
        "clips": len(samples),
        "frames": torch.cat([sample["frames"] for sample in samples]),
        "masks": torch.cat([sample["masks"] for sample in samples]),
        "ids": torch.tensor([row + [text.ROBERTA.padding[1]] * (length - len(row)) for row in rows]),
        "padding": torch.arange(length) >= torch.tensor([len(row) for row in rows])[:, None],
    }


def input_frames(clip: Sample, short_side: int) -> Tensor:
    """The frames of a clip as network input, [T, 3, h, w]."""
    size = preprocess.input_size(clip.images.shape[1:3], short_side, None, "torchvision")
    return torch.stack([preprocess.shrink(image, size, "torchvision") for image in clip.images])
