"""What was understood of a sentence: `Description`, a list of cues."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """One thing that a sentence says about its object.

    Attributes:
        kind: "object", "part", "colour", "part colour", "place", "order", "size" or "motion".
        value: what it says: a noun, a colour word, or a value of the kind, such as "left" or "small".
        words: the words of the sentence that say so.
        rank: of "order": 2 of "second from the left".
    """

    kind: str
    value: str
    words: str
    rank: int = 1


@dataclass(frozen=True)
class Description:
    """What was understood of a sentence.

    Attributes:
        cues: what it says about its object; one of kind "object" at most.
        count: the number of objects; None for all that fit.
        not_understood: words and phrases that had no effect, in the order of the sentence.
        note: why nothing could be read; "" otherwise.
    """

    cues: tuple[Cue, ...] = ()
    count: int | None = 1
    not_understood: tuple[str, ...] = ()
    note: str = ""

    def of(self, *kinds: str) -> list[Cue]:
        """The cues of some kinds."""
        return [cue for cue in self.cues if cue.kind in kinds]
