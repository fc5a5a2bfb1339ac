"""What is known about a prediction before it is computed, so that a step that cannot use it is refused early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rvos_ensemble.adapters.core.masks import MaskSequence


@dataclass(frozen=True)
class Traits:
    """Properties of the masks of a clip; None if unknown.

    Attributes:
        kind: of the masks, see `MaskSequence`.
        scores: whether every frame has a score.
        key_frame: whether they name their key frame, in the note `key_frame`.
        objects: whether they are masks of objects, not of expressions.
        sequences: {expression: lazy masks on disk}, which determine all properties above.
    """

    kind: str | None = None
    scores: bool | None = None
    key_frame: bool | None = None
    objects: bool = False
    sequences: Mapping[str, MaskSequence] | None = None

    def all(self) -> Traits:
        """The properties that all masks have in common."""
        if not self.sequences:
            return self
        every = {self.of(expression) for expression in self.sequences}
        common = {key: {getattr(t, key) for t in every} for key in ("kind", "scores", "key_frame")}
        return Traits(**{k: next(iter(v)) if len(v) == 1 else None for k, v in common.items()}, objects=self.objects)

    def of(self, expression: str) -> Traits:
        """The properties of the masks of one expression."""
        sequence = (self.sequences or {}).get(expression)
        if sequence is None:
            return self
        return Traits(sequence.kind, sequence.scores is not None, "key_frame" in sequence.notes, self.objects)
