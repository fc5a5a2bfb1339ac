"""A mask of your own for one frame, to be propagated: semi-supervised video object segmentation.

sources:
  given: {adapter: given_mask, path: first.png}
steps:
  vos: {op: propagate, input: given, with: vos, key_frame: given}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.instances import seed
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import read_file, user_path
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import path, whole
from rvos_ensemble.adapters.core.traits import Traits

VOID = 255  # marks pixels of no object beside object ids


class GivenMask(Adapter):
    """Masks of your own for one frame, a PNG: black and white, or with a number for each object.

    The objects belong to the expressions in order: the lowest number to the first one.

    Settings:
        path: the PNG, of the size of the frames.
        frame: the index of its frame, from 0; of the frames that are used where the data set takes every n-th.
    """

    stored = False
    defaults = {"path": path(what="a PNG"), "frame": whole(0, least=0)}

    def predict(self, clip: Clip) -> Prediction:
        """The mask of each expression in that frame, with score 1; nothing in the others."""
        if problems := self._problems(clip):
            raise InputError(problems)
        labels = self._labels()
        t = self.settings.frame
        return {e.id: seed(len(clip), t, labels == i) for e, i in zip(clip.expressions, _numbers(labels), strict=True)}

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Whether the mask can be read and fits: one clip, its size, its frames and its expressions."""
        if len(clips) > 1:
            return [f"{self.settings.path}: one mask, but {len(clips)} clips; expected one clip: data.clips=[NAME]"]
        return self._problems(clips[0])

    def traits(self, clip: Clip) -> Traits:
        """Binary masks with a score and a key frame."""
        return Traits("binary", scores=True, key_frame=True)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the PNG."""
        return digest(read_file(user_path(self.settings.path)))

    def _problems(self, clip: Clip) -> list[str]:
        where, t = self.settings.path, self.settings.frame
        try:
            labels = self._labels()
        except InputError as error:
            return error.problems
        problems = []
        if labels.shape != tuple(clip.size):
            found, expected = (f"{h}x{w}" for h, w in (labels.shape, clip.size))
            problems.append(f"{where}: {found} pixels (HxW), but the frames of {clip.name} have {expected}")
        if t >= len(clip):
            problems.append(f"frame {t}: {clip.name} has {len(clip)} frames, 0 to {len(clip) - 1}")
        objects, texts = _numbers(labels), [e.text for e in clip.expressions]
        if not objects:
            problems.append(f"{where}: empty; expected an object, white on black or as a number from 1 to 254")
        elif len(objects) != len(texts):
            problems.append(
                f"{where}: {len(objects)} object(s), numbers {objects}, but {len(texts)} expression(s), {texts}; "
                "expected one expression for each object: data.expressions=[...]"
            )
        return problems

    def _labels(self) -> np.ndarray:
        """Object ids, uint8 [H, W]."""
        return png.read(user_path(self.settings.path)).labels


def _numbers(labels: np.ndarray) -> list[int]:
    """The objects of a mask."""
    return [i for i in np.unique(labels).tolist() if i not in (0, VOID)]
