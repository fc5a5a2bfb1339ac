"""What is known of a prediction before it is computed, so that a step that cannot work with it is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rvos_ensemble.adapters.core.masks import MaskSequence


@dataclass(frozen=True)
class Traits:
    """What the masks of a clip will be like; None wherever that is not known.

    Attributes:
        kind: of the masks, see `MaskSequence`.
        scores: whether there is a score for every frame.
        key_frame: whether they name their key frame, as the note `key_frame`.
        objects: whether they are of objects, not of expressions.
        sequences: {expression: masks that lie on disk, not read}; they say all of the above for themselves.
    """

    kind: str | None = None
    scores: bool | None = None
    key_frame: bool | None = None
    objects: bool = False
    sequences: Mapping[str, MaskSequence] | None = None

    def all(self) -> Traits:
        """What all of its masks have in common."""
        if not self.sequences:
            return self
        every = {self.of(expression) for expression in self.sequences}
        common = {key: {getattr(t, key) for t in every} for key in ("kind", "scores", "key_frame")}
        return Traits(**{k: next(iter(v)) if len(v) == 1 else None for k, v in common.items()}, objects=self.objects)

    def of(self, expression: str) -> Traits:
        """What the masks of one expression will be like."""
        sequence = (self.sequences or {}).get(expression)
        if sequence is None:
            return self
        return Traits(sequence.kind, sequence.scores is not None, "key_frame" in sequence.notes, self.objects)
