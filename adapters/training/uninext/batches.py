"""Samples and batches for UNINEXT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.tokenization import tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.layers import Size
from rvos_ensemble.adapters.training.losses import boxes_of
from rvos_ensemble.adapters.training.samples.sample import Sample, same_size

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class ClipsWithExpressions(Dataset):
    """Clips, each with the indices of the selected expressions and a random number in 0..1.

    Args:
        clips: an endless data set of `Sample`.
        seed: seed of the random choice.
        most: maximum number of expressions per clip.
    """

    def __init__(self, clips: Dataset, seed: int, most: int):
        self.clips, self.seed, self.most = clips, seed, most

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[Sample, list[int], float]:
        clip, rng = self.clips[i], np.random.default_rng([self.seed, i])
        return clip, rng.permutation(len(clip.expressions))[: self.most].tolist(), rng.random()


def batch_of(
    clips: Sequence[Sample], expressions: Sequence[Sequence[int]], tokenizer: Tokenizer, size: Size
) -> dict[str, Tensor]:
    """A batch of N frames and of B pairs of a frame and an expression.

    Args:
        clips: their frames are independent of each other.
        expressions: for each clip the indices of the selected expressions.
        tokenizer: of BERT.
        size: (h, w) of the resized frames.

    Returns:
        {"frames": [N, 3, h, w], "picture": int64 [B], the frame of each pair, "ids": int64 [B, L], "padding": bool
        [B, L], "masks": float [B, h4, w4], the share of the object in each cell at a quarter of the size, "boxes":
        [B, 4], "visible": bool [B]}.
    """
    same_size([clip.images.shape[1:3] for clip in clips])
    frames, frame_of_pair, rows, masks = [], [], [], []
    for clip, chosen in zip(clips, expressions, strict=True):
        sentences, objects = zip(*(clip.expressions[i] for i in chosen), strict=True)
        tokens = tokenize(tokenizer, text.BERT, sentences)
        for image, ids in zip(clip.images, clip.ids, strict=True):
            frame_of_pair += [len(frames)] * len(chosen)
            rows += tokens
            masks += [ids == own for own in objects]
            frames.append(preprocess.shrink(image, size, "detectron2"))
    length = max(map(len, rows))
    h, w = size
    shares = [cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA) for mask in masks]
    shares = F.pad(torch.from_numpy(np.stack(shares)), (0, -w % 4, 0, -h % 4))
    masks = torch.from_numpy(np.stack(masks))
    return {
        "frames": torch.stack(frames),
        "picture": torch.tensor(frame_of_pair),
        "ids": torch.tensor([row + [text.BERT.padding[1]] * (length - len(row)) for row in rows]),
        "padding": torch.arange(length) >= torch.tensor([len(row) for row in rows])[:, None],
        "masks": F.avg_pool2d(shares, 4),
        "boxes": boxes_of(masks),
        "visible": masks.flatten(1).any(1),
    }
