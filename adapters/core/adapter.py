"""The base of every adapter: a model, or the masks it left on disk, as predictions of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.traits import Traits


class Adapter(Component):
    """Turns a model, or its files, into the predictions of a clip.

    A subclass says its settings in `defaults` and writes `predict`; the rest is optional. The pipeline validates what
    `predict` returns, so an adapter need not.
    """

    stored: ClassVar[bool] = True  # False: its masks lie on disk already, the pipeline need not keep a copy
    objects: ClassVar[bool] = False  # True: predicts `Objects`, the objects of a clip, whoever may mean them

    def predict(self, clip: Clip) -> Prediction:
        """The masks of every expression of the clip.

        Returns:
            {expression id: MaskSequence}, T masks at the clip's size each; `scores` where the model has them.
        """
        raise NotImplementedError

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Everything that would make `predict` fail on these clips, found without computing; one line a problem."""
        return []

    def inspect(self, clip: Clip) -> list[str]:
        """Everything that is wrong with the values of a clip, found by reading all of it; one line a problem.

        The method `check` looks at names and headers before every run. This one looks at every mask, for the command
        `check` and after a clip has failed, so that all damaged files of a clip are reported together.
        """
        return []

    def traits(self, clip: Clip) -> Traits:
        """What is known of the masks of a clip before they are computed; nothing, where an adapter does not say."""
        return Traits(objects=self.objects)

    def fingerprint(self, clip: Clip) -> str:
        """Changes whenever something other than settings and frames that `predict(clip)` reads does: weights, files."""
        return ""

    def label(self) -> str:
        """A remark for tables beside the source's name, such as the name of shipped weights, or "simulated"."""
        return ""
