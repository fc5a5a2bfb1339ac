"""What is known about a prediction before it is computed, so that a step that cannot use it is refused early."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rvos_ensemble.adapters.core.masks import MaskSequence


@dataclass(frozen=True)
class Traits:
    """Properties of the masks of a clip; None if unknown.

    Attributes:
        kind: of the masks, see `MaskSequence`.
        scores: whether every frame has a score.
        key_frame: whether they name their key frame, in the note `key_frame`.
        objects: whether they are masks of objects, not of expressions.
        presence: whether they state the probability that the expression refers to anything.
        signals: names of what a propagator stated about them, ascending.
        sequences: {expression: lazy masks on disk}, which determine all properties above.
    """

    kind: str | None = None
    scores: bool | None = None
    key_frame: bool | None = None
    objects: bool = False
    presence: bool | None = None
    signals: tuple[str, ...] | None = None
    sequences: Mapping[str, MaskSequence] | None = None

    def all(self) -> Traits:
        """The properties that all masks have in common."""
        if not self.sequences:
            return self
        every = {self.of(expression) for expression in self.sequences}
        return replace(common_traits(every), objects=self.objects)

    def of(self, expression: str) -> Traits:
        """The properties of the masks of one expression."""
        sequence = (self.sequences or {}).get(expression)
        if sequence is None:
            return self
        has_key_frame = "key_frame" in sequence.notes
        states_presence, signals = sequence.presence is not None, tuple(sorted(sequence.signals))
        return Traits(sequence.kind, sequence.scores is not None, has_key_frame, self.objects, states_presence, signals)


def common_traits(every: Collection[Traits]) -> Traits:
    """The properties that all of some masks have in common; those in which they differ are unknown.

    >>> common_traits([Traits("prob", scores=True), Traits("binary", scores=True)])
    Traits(kind=None, scores=True, key_frame=None, objects=False, presence=None, signals=None, sequences=None)
    """
    values = {key: {getattr(t, key) for t in every} for key in ("kind", "scores", "key_frame", "presence", "signals")}
    return Traits(**{key: next(iter(v)) if len(v) == 1 else None for key, v in values.items()})


def any_presence(parts: Iterable[Traits]) -> bool | None:
    """Whether the fusion of some masks states a presence, as it does if any of them does; None if unknown.

    >>> any_presence([Traits(presence=False), Traits(presence=True)]), any_presence([Traits(), Traits()])
    (True, None)
    """
    states = [part.all().presence for part in parts]
    return True if True in states else None if None in states else False
