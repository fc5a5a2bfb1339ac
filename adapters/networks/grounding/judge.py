"""Whether an expression refers to anything in a clip: compares it with all tracklets of the clip, and their paths.

MeViSv2 asks for this decision (N-acc and T-acc). The best match among the tracklets decides, so that a segmenter that
segments the wrong one of two twins does not make the other one absent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.grounding.grounding import Grounding
from rvos_ensemble.adapters.networks.interface import Text


class Judge(nn.Module):
    """Frames, masks of tracklets and words to the presence of every expression.

    Args:
        matcher: compares tracklets with expressions. It sees one feature per tracklet, the mean over the frames that
            show it, so that its cost does not depend on the number of frames.
    """

    def __init__(self, matcher: Grounding):
        super().__init__()
        self.matcher = matcher
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def pool(self, frames: Tensor, masks: Tensor) -> Tensor:
        """Features inside each tracklet's mask, frame by frame; see `Grounding.pool`.

        Args:
            frames: normalised, [T, 3, H, W].
            masks: [T, P, h, w], the share of each cell of the visual encoder's map that the tracklet covers.

        Returns:
            [T, P, D + 1]; the last channel is 1 where the frame shows the tracklet, and all are 0 elsewhere.
        """
        shown = (masks.sum((2, 3)) > 0).to(frames.dtype)[..., None]  # [T, P, 1]
        return torch.cat([self.matcher.pool(frames, masks) * shown, shown], 2)

    def forward(self, pooled: Tensor, words: Text, paths: Tensor) -> tuple[Tensor, Tensor]:
        """How well every tracklet fits every expression, and whether the expression refers to anything.

        Args:
            pooled: [T, P, D + 1] from `pool`, P at least 1.
            words: of E expressions, from `matcher.words`.
            paths: [P, points, 4], see `tracklets.paths_of`.

        Returns:
            Logits of the matches [E, P], and of the presence [E].
        """
        total = pooled.sum(0)
        objects = total[:, :-1] / total[:, -1:].clamp(min=1)  # [P, D]
        matches = self.matcher(objects[None], words, paths)[:, 0]  # [E, P]
        return matches, self.scale * matches.amax(1) + self.bias
