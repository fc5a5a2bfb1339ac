"""What the readers of all formats have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import Masks, MaskSequence


class Reader:
    """Reads the masks of clips from files of one format. Must be picklable, as must be the sequences it returns."""

    look_at_all: ClassVar[bool] = False  # `look` is cheap enough to be done for every expression by `check`

    def expressions(self, clip: Clip) -> list[str] | None:
        """Ids of the expressions of the clip that the files have, None where they do not know the video."""
        raise NotImplementedError

    def sequence(self, clip: Clip, expression: Expression) -> MaskSequence:
        """The masks, lazily; everything that can be said without reading pixels has been verified.

        Raises:
            InputError: naming all that is wrong.
        """
        raise NotImplementedError

    def look(self, clip: Clip, expression: Expression, sequence: MaskSequence) -> list[str]:
        """Looks into the pixels of a sequence, for `check`; by default reads its first frame."""
        sequence.masks[0]
        return []

    def problems(self, clips: Sequence[Clip]) -> list[str]:
        """What is wrong with the files as a whole."""
        return []

    def fingerprint(self, clip: Clip) -> str:
        """Changes whenever the masks of the clip do."""
        raise NotImplementedError

    def holds(self) -> str:
        """What the files have, in a few words, for the message that something is missing."""
        raise NotImplementedError


def faults(masks: Masks) -> list[str]:
    """Everything that is wrong with some masks, found by reading each of them; one line a problem."""
    found: list[str] = []
    for t in range(masks.shape[0]):
        try:
            masks[t]
        except InputError as error:
            found += error.problems
    return found


def some(names, most: int = 5) -> str:
    """The first few names, for messages.

    >>> some(["a", "b", "c"], 2)
    'a, b, ...'
    """
    names = [str(n) for n in names]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"
