"""The interface of the readers, one per format of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import Masks, MaskSequence


class Outline(NamedTuple):
    """What mask files say about a video without a data set.

    Attributes:
        frames: names of the frames.
        expressions: {id: ids of its objects}; none for an expression with masks of its own, or of the only object.
    """

    frames: tuple[str, ...]
    expressions: dict[str, tuple[str, ...]]


def numbered(count: int) -> tuple[str, ...]:
    """Names of frames in files that only count them.

    >>> numbered(2)
    ('00000', '00001')
    """
    return tuple(f"{t:05d}" for t in range(count))


def outlines_of(shapes: Mapping[tuple[str, str], tuple[int, ...]]) -> dict[str, Outline]:
    """The outlines of {(video, expression): shape of its masks}."""
    outlines: dict[str, Outline] = {}
    for (video, expression), shape in shapes.items():
        old = outlines.get(video, Outline((), {}))
        longest = max(old.frames, numbered(shape[0]), key=len)
        outlines[video] = Outline(longest, {**old.expressions, expression: ()})
    return outlines


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

    def videos(self) -> list[str]:
        """Names of all videos in the files.

        Raises:
            InputError: the files cannot be read, or do not say what they contain.
        """
        return list(self.outlines())

    def size(self, video: str) -> tuple[int, int] | None:
        """(H, W) of the masks of a video, from the first of them; None if the files do not state it."""
        return None

    def outlines(self) -> dict[str, Outline]:
        """{video: its frames and expressions} of everything in the files.

        Raises:
            InputError: the files cannot be read, or do not say what they contain.
        """
        raise InputError(
            f"{self.contents()}: masks of this format do not list their frames; give data=NAME, which does"
        )

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
