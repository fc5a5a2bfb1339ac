"""Classes of pictures by EfficientNet-Lite0, whose weights are read from the installed package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.networks.backbones.efficientnet_lite import EfficientNetLite0, plain_names

BATCH = 16  # pictures
MARGIN = 0.15  # of the longer side of the box, on each side
GREY = 127  # a pixel value of 0 for the network


class Classifier:
    """Pictures to probabilities of the 1000 classes of ImageNet.

    Args:
        path: the official weights of EfficientNet-Lite0.

    Raises:
        InputError: the file is damaged, or holds other weights.
    """

    def __init__(self, path: Path):
        self.network = EfficientNetLite0()
        try:
            self.network.load_state_dict(plain_names(dict(read_weights(path))))
        except RuntimeError as error:
            raise InputError(f"{path}: not the official weights of EfficientNet-Lite0: {error}") from error
        self.network.eval().requires_grad_(False)

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of the classes, float32 [N, 1000], of uint8 RGB pictures [224, 224, 3]."""
        parts = [np.zeros((0, 1000), np.float32)]
        for start in range(0, len(pictures), BATCH):
            x = torch.from_numpy(np.stack(pictures[start : start + BATCH])).permute(0, 3, 1, 2)
            with torch.inference_mode():
                parts.append(self.network((x.float() - 127) / 128).softmax(1).numpy())
        return np.concatenate(parts)


def crop(frame: np.ndarray, mask: np.ndarray, background: float = 1.0, margin: float = MARGIN) -> np.ndarray:
    """The square around a mask, as the classifier takes it.

    Args:
        frame: uint8 [H, W, 3] RGB.
        mask: bool [H, W], not empty.
        background: how much of the pixels outside the mask is kept, 0..1; the rest is grey.
        margin: of the square around the box of the mask, on each side, as a share of its longer side.

    Returns:
        uint8 [224, 224, 3]; grey outside the frame.
    """
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    side = max(w, h) * (1 + 2 * margin)
    scale = EfficientNetLite0.size / side
    shift = EfficientNetLite0.size / 2 - scale * np.array([x + w / 2, y + h / 2])
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    if scale < 0.5:  # warpAffine does not average: shrink first, so that nothing is skipped
        small = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask.view(np.uint8), small, interpolation=cv2.INTER_AREA) > 0
        matrix[:, :2] = np.eye(2)
        flags = cv2.INTER_LINEAR
    size = (EfficientNetLite0.size,) * 2
    picture = cv2.warpAffine(frame, matrix, size, flags=min(flags, cv2.INTER_CUBIC), borderValue=(GREY,) * 3)
    if background < 1:
        inside = cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
        keep = inside + (1 - inside) * background
        picture = np.rint(GREY + (picture.astype(np.float32) - GREY) * keep).astype(np.uint8)
    return picture
