"""The interface of the readers, one per format of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import Masks, MaskSequence


class Reader:
    """Reads the masks of clips from files of one format. It and the sequences it returns must be picklable."""

    samples_all: ClassVar[bool] = False  # `sample_problems` is cheap enough for `check` to call it for all expressions

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip that the files have, None if they do not have the video."""
        raise NotImplementedError

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks of an expression, lazily; everything that needs no pixels has been checked.

        Raises:
            InputError: naming every problem.
        """
        raise NotImplementedError

    def sample_problems(self, sequence: MaskSequence) -> list[str]:
        """What is wrong with a sample of a sequence's masks, for `check`; by default the first mask.

        Raises:
            InputError: what is wrong with them, as well.
        """
        sequence.masks[0]
        return []

    def problems(self, clips: Sequence[Clip]) -> list[str]:
        """What is wrong with the files as a whole."""
        return []

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes whenever the masks of the clip do."""
        raise NotImplementedError

    def contents(self) -> str:
        """What the files contain, in a few words, for the message that a video is missing."""
        raise NotImplementedError


def decoding_problems(masks: Masks) -> list[str]:
    """Everything that is wrong with some masks, one line per problem; every mask is read."""
    problems: list[str] = []
    for t in range(masks.shape[0]):
        try:
            masks[t]
        except InputError as error:
            problems += error.problems
    return problems
