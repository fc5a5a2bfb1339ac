"""Masks of boxes by SAM 2 or SAM 3's tracker, both of which were trained with prompts on single images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rvos_ensemble.adapters.inference.checkpoints.pretrained import open_pretrained
from rvos_ensemble.adapters.inference.transformers_models.architectures import PROMPTED
from rvos_ensemble.adapters.inference.transformers_models.inputs.images import HALF, IMAGENET, square
from rvos_ensemble.adapters.inference.transformers_models.outputs.instances import resized


class BoxMasks:
    """A network that turns boxes into masks.

    Args:
        path: of its folder; a folder for videos is accepted as well.

    Raises:
        InputError: everything that is wrong with the folder.
    """

    def __init__(self, path: str | Path):
        self._pretrained = open_pretrained(path, PROMPTED)
        self.name = self._pretrained.architecture.name
        self.network = self._pretrained.network()
        self.side: int = self.network.prompt_encoder.input_image_size

    def fingerprint(self) -> str:
        """Hash of the weights and the config."""
        return self._pretrained.fingerprint()

    def to(self, device: torch.device) -> None:
        """Moves the network to a device."""
        self.network.to(device)

    def features(self, image: np.ndarray) -> list[Tensor]:
        """The features of a frame, uint8 [H, W, 3] RGB, for any number of boxes."""
        pixels = square(image, self.side, *(HALF if self.name.startswith("Sam3") else IMAGENET))
        return self.network.get_image_embeddings(pixels.to(next(self.network.parameters()).device))

    def masks(self, features: list[Tensor], boxes: Tensor, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, float]]:
        """The mask of each box, one per box as SAM 2 predicts it without ambiguity, and its predicted IoU, 0..1.

        Args:
            features: of the frame.
            boxes: float [N, 4], (left, top, right, bottom) in pixels of the frame.
            size: (H, W) of the frame.

        Returns:
            (mask bool [H, W], IoU) for each box.
        """
        scale = torch.tensor([self.side / size[1], self.side / size[0]] * 2)
        prompts = (boxes.float().cpu() * scale)[None].to(features[-1].device)
        out = self.network(image_embeddings=list(features), input_boxes=prompts, multimask_output=False)
        for logits, iou in zip(out.pred_masks[0, :, 0], out.iou_scores[0, :, 0], strict=True):
            yield (resized(logits, size) > 0).cpu().numpy(), min(max(float(iou), 0.0), 1.0)
