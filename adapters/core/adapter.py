"""The base class of adapters, which provide the predictions of a model, or of mask files, for a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.traits import Traits


class Adapter(Component):
    """Turns a model, or its files, into the predictions of a clip.

    A subclass declares its settings in `defaults` and implements `predict`; everything else is optional. What `predict`
    returns is validated by the caller.
    """

    stored: ClassVar[bool] = True  # False: the masks are already on disk and are not stored again
    objects: ClassVar[bool] = False  # True: predicts `Objects`, the objects of a clip, not of its expressions

    def predict(self, clip: Clip) -> Prediction:
        """The masks of every expression of the clip.

        Returns:
            {expression id: MaskSequence}, each of T masks at the clip's size, with `scores` if the model has them.
        """
        raise NotImplementedError

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Everything that would make `predict` fail on these clips, without computing; one line per problem."""
        return []

    def inspect(self, clip: Clip) -> list[str]:
        """Everything that is wrong with the values of a clip, which are all read; one line per problem.

        The method `check` reads names and headers before every run. This one reads every mask, for the command `check`
        and after a clip has failed, so that all damaged files of a clip are reported together.
        """
        return []

    def traits(self, clip: Clip) -> Traits:
        """What is known about the masks of a clip before they are computed; by default nothing."""
        return Traits(objects=self.objects)

    @property
    def reads_pictures(self) -> bool:
        """Whether `predict` reads the frames of the clip; masks on disk do not need them."""
        return self.stored

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the masks of a video, where they are on disk: the size of clips without pictures."""
        return None

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes with whatever `predict(clip)` reads besides settings and frames: weights, files."""
        return ""

    def label(self) -> str:
        """A remark for tables beside the source's name, such as the name of shipped weights, or "simulated"."""
        return ""
