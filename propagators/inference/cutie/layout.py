"""The size of Cutie's input: frames are shrunk if they are large, then padded to multiples of 16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import Size

STRIDE = 16


@dataclass(frozen=True)
class Layout:
    """Where a frame lies in the input.

    Attributes:
        frame: (H, W) of the frames.
        inner: (h, w) of the shrunk frame.
        padding: pixels on the left, on the right, above and below it.
    """

    frame: Size
    inner: Size
    padding: tuple[int, int, int, int]

    @classmethod
    def of(cls, frame: Size, max_short_edge: int | None) -> Layout:
        """The layout of frames of a size, as in the official `InferenceCore` with this `max_internal_size`.

        >>> Layout.of((720, 1280), 480)
        Layout(frame=(720, 1280), inner=(480, 853), padding=(5, 6, 0, 0))
        """
        short, inner = min(frame), tuple(frame)
        if max_short_edge is not None and short > max_short_edge:
            inner = tuple(int(side / short * max_short_edge) for side in frame)
        rows, columns = (-side % STRIDE for side in inner)
        return cls(tuple(frame), inner, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def image(self, image: np.ndarray, device: torch.device) -> Tensor:
        """A frame, uint8 [H, W, 3], as input float32 [1, 3, h, w] in 0..1; the padding is black."""
        x = torch.from_numpy(np.ascontiguousarray(image)).to(device, non_blocking=True)
        return self._placed(x.permute(2, 0, 1)[None].float() / 255, "bilinear")

    def mask(self, mask: np.ndarray, device: torch.device) -> Tensor:
        """A mask, bool [H, W], as input float32 [1, h, w] of zeros and ones."""
        x = torch.from_numpy(np.ascontiguousarray(mask)).to(device, torch.float32)
        return self._placed(x[None, None], "nearest-exact")[0]

    def replaced(self, p: Tensor, mask: np.ndarray) -> Tensor:
        """Probabilities [1, h, w] of the input, with those of the frame replaced by a mask, uint8 [H, W]."""
        x = torch.from_numpy(np.ascontiguousarray(mask)).to(p.device, torch.float32)
        inside = self._placed(torch.ones_like(x)[None, None], "nearest-exact")[0] > 0
        return torch.where(inside, self._placed(x[None, None] / 255, "bilinear")[0], p)

    def frame_sized(self, p: Tensor) -> Tensor:
        """Probabilities [B, 1, h, w] of the input at the size of the frame, [B, 1, H, W]."""
        left, _, above, _ = self.padding
        p = p[..., above : above + self.inner[0], left : left + self.inner[1]]
        return p if self.inner == self.frame else F.interpolate(p, self.frame, mode="bilinear", align_corners=False)

    def _placed(self, x: Tensor, mode: str) -> Tensor:
        if self.inner != self.frame:
            x = F.interpolate(x, self.inner, mode=mode, **({"align_corners": False} if mode == "bilinear" else {}))
        return F.pad(x, self.padding)
