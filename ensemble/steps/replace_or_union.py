"""The step `replace_or_union`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import choice, number
from rvos_ensemble.adapters.core.traits import Traits, any_presence
from rvos_ensemble.ensemble import fusion
from rvos_ensemble.ensemble.steps.step import INPUTS, Step, vote_maps
from rvos_ensemble.ensemble.steps.union import unite


class ReplaceOrUnion(Step):
    """The propagated masks, or the union with the original ones if propagation lost the object.

    Settings:
        inputs: [original, propagated].
        ratio: a frame counts as lost if propagated area < ratio * original area.
        share: the union is used if more than this share of the frames with an original mask is lost.
        area: `pixels` of the masks, on all frames with an original mask; or `box`, the area of their bounding boxes,
            (bottom - top) * (right - left) between the outermost pixels, on the frames where both have such an area.

    Source: ReferDINO-Plus (arXiv 2503.23509); `box` is the rule of its code, refine_from_refdino.py.
    """

    defaults = {
        "inputs": INPUTS,
        "ratio": number(2 / 3, least=0, most=1e6),
        "share": number(0.5, least=0, most=1),
        "area": choice("pixels", "box"),
    }

    @property
    def replacement(self) -> str:
        """The propagated masks."""
        return self.inputs[1]  # the propagated masks

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """A union of the remaining input, which is this input."""
        left = [i for i in self.inputs if i not in gone]
        if len(left) == 1:
            return {"op": "union", "inputs": left}  # the union of one input is this input
        return {"inputs": left} if left else None

    def relations(self, values: dict[str, Any]) -> Iterable[str]:
        """Exactly two inputs are required."""
        if len(values.get("inputs", [1, 2])) != 2:
            yield f"inputs are {shown(values['inputs'])}, expected [original, propagated]"

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """Both inputs must have masks."""
        return vote_maps(self, self.inputs, known)

    def traits(self, known: Mapping[str, Traits]) -> Traits:
        """The traits of the propagated masks, as far as the union has the same."""
        second = known[self.inputs[1]].all()
        kind, scores = ("binary" if second.kind == "binary" else None), (None if second.scores else second.scores)
        united = any_presence(known[name] for name in self.inputs)
        return Traits(kind, scores=scores, presence=united if united == second.presence else None)

    def run(self, clip: Clip, inputs: Mapping[str, Prediction]) -> Prediction:
        """The propagated masks of each expression, or the union if too many frames were lost."""
        result = {}
        for e in clip.expressions:
            pair = [inputs[name][e.id] for name in self.inputs]
            areas = self._areas(pair)
            united = fusion.prefers_union(*areas, self.settings.ratio, self.settings.share)
            chosen = unite(pair) if united else pair[1]
            result[e.id] = chosen.with_(notes={**chosen.notes, "united": united})
        return result

    def _areas(self, pair: Sequence[MaskSequence]) -> np.ndarray:
        """Areas of the masks of both sequences on the frames that are compared, int64 [2, frames]."""
        box = self.settings.area == "box"
        area = box_area if box else np.count_nonzero
        areas = np.array([[area(m.mask(t)) for t in range(len(m))] for m in pair])
        return areas[:, (areas > 0).all(axis=0)] if box else areas


def box_area(mask: np.ndarray) -> int:
    """The area between the outermost pixels of a mask; 0 for a mask of one row or column.

    >>> box_area(np.eye(3, 4, dtype=bool)), box_area(np.ones((1, 4), bool)), box_area(np.zeros((2, 2), bool))
    (4, 0, 0)
    """
    _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
    return max(width - 1, 0) * max(height - 1, 0)
