"""Expressions about a clip of `shapes` that are certain there and certainly refer to nothing in another clip.

Two clips show objects of equal appearance on different paths. What is true of one clip and false of the other is an
expression with a target in the first, and one without a target in the second. As the two are drawn in the same way, and
each could have been the other, the words of an expression do not tell whether it has a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.claims import Claim, Tracks, claims
from rvos_ensemble.adapters.datasets.shapes.mevis.denials import denials
from rvos_ensemble.adapters.datasets.shapes.sentences import ANY, nouns, same_traits, shown
from rvos_ensemble.adapters.datasets.shapes.things import Appearance, Scene

BY_APPEARANCE = 0.2  # fraction of the descriptions that a single frame is enough for, if there are both kinds
MISLEADING = 0.7  # fraction of the descriptions whose noun fits other objects, too, as far as possible
THREE = 0.3  # fraction of the expressions of several objects that refer to three of them
TRIES = 50  # to draw another expression
LAST = 2  # position of a description that ends with a noun


@dataclass(frozen=True)
class Facts:
    """What is certain about the objects of a clip.

    Attributes:
        appearances: of N objects.
        column: whether there is a column, which "the one" could mean, too.
        shown: bool [N], which objects can be described.
        claims: all claims about them.
        denied: {words of a claim: bool [N], for which objects it certainly does not hold}.
    """

    appearances: list[Appearance]
    column: bool
    shown: np.ndarray
    claims: list[Claim]
    denied: dict[str, np.ndarray]

    @classmethod
    def of(cls, scene: Scene, tracks: Tracks) -> Facts:
        """Derives them from what the frames of a scene show."""
        found = claims(scene, tracks)
        appearances = [thing.appearance for thing in scene.objects]
        column = len(scene.objects) < len(scene.things)
        return cls(appearances, column, shown(tracks), found, denials(scene, tracks, found))


@dataclass(frozen=True)
class Description:
    """A noun phrase that describes one object.

    Attributes:
        text: the phrase.
        own: number of the object, from 1.
        claim: the words of its claim; empty if it has none.
        by_appearance: whether a single frame is enough to understand it.
        rivals: how many other objects of the clip the noun fits.
        foils: how many objects of the other clip the noun fits.
    """

    text: str
    own: int
    claim: str
    by_appearance: bool
    rivals: int
    foils: int


@dataclass(frozen=True)
class ReferringExpression:
    """An expression and the objects that it refers to, numbered from 1; none if it refers to nothing."""

    text: str
    objects: tuple[int, ...]
    by_appearance: bool


def descriptions(here: Facts, there: Facts) -> list[Description]:
    """All descriptions that are certain to fit one object of a clip, and no object of another clip."""
    result = []
    for k in np.flatnonzero(here.shown):
        for noun, traits in nouns(here.appearances[k]):
            same = same_traits(here.appearances, here.appearances[k], traits)
            elsewhere = same_traits(there.appearances, here.appearances[k], traits)
            if same == [k] and not elsewhere:
                result.append(Description(f"the {noun}", int(k) + 1, "", True, 0, 0))
            for claim in here.claims:
                scenery = claim.of_scenery and noun in ANY and (here.column or there.column)
                certain = claim.sure[k] and not any(claim.rivals[k, j] for j in same if j != k)
                certain = certain and (len(same) > 1 or not claim.words.endswith("est"))
                if certain and not scenery and _denied(there, claim.words, elsewhere):
                    counts = len(same) - 1, len(elsewhere)
                    text = claim.phrase(noun)
                    result.append(Description(text, int(k) + 1, claim.words, claim.by_appearance, *counts))
    return result


def _denied(facts: Facts, words: str, objects: list[int]) -> bool:
    """Whether a claim certainly holds for none of the objects."""
    return not objects or (words in facts.denied and bool(facts.denied[words][objects].all()))


def draw(
    about: list[Description], several: Sequence[bool], rng: np.random.Generator
) -> list[ReferringExpression] | None:
    """Draws different expressions; None if there are not enough descriptions.

    Args:
        about: the descriptions to choose from.
        several: for each expression, whether it refers to several objects.
        rng: makes the choices.
    """
    drawn: dict[str, ReferringExpression] = {}
    for more in several:
        for _ in range(TRIES):
            expression = _several(about, rng) if more else _one(about, rng)
            if expression and expression.text not in drawn:
                drawn[expression.text] = expression
                break
        else:
            return None
    return list(drawn.values())


def _one(about: list[Description], rng: np.random.Generator) -> ReferringExpression | None:
    own = sorted({d.own for d in about})
    if not own:
        return None
    chosen = _describe(own[rng.integers(len(own))], about, rng)
    return ReferringExpression(chosen.text, (chosen.own,), chosen.by_appearance)


def _several(about: list[Description], rng: np.random.Generator) -> ReferringExpression | None:
    """Joins descriptions by "and"; None if that is impossible or could be misunderstood."""
    own = sorted({d.own for d in about})
    count = 3 if rng.random() < THREE else 2
    if len(own) < count:
        return None
    parts = sorted((_describe(k, about, rng) for k in rng.permutation(own)[:count]), key=_position)
    if _position(parts[-2]) == LAST:
        return None
    return ReferringExpression(
        " and ".join(part.text for part in parts),
        tuple(sorted(part.own for part in parts)),
        all(part.by_appearance for part in parts),
    )


def _describe(own: int, about: list[Description], rng: np.random.Generator) -> Description:
    """A random description of an object; every claim is as likely as any other of its kind."""
    about = [d for d in about if d.own == own]
    by_appearance = rng.random() < BY_APPEARANCE
    about = [d for d in about if d.by_appearance == by_appearance] or about
    if rng.random() < MISLEADING:
        most = max(map(_misleading, about))
        about = [d for d in about if _misleading(d) == most]
    words = sorted({d.claim for d in about})
    word = words[rng.integers(len(words))]
    about = [d for d in about if d.claim == word]
    return about[rng.integers(len(about))]


def _misleading(part: Description) -> int:
    """In how many of the two clips its noun alone leads to a wrong object."""
    return (part.rivals > 0) + (part.foils > 0)


def _position(part: Description) -> int:
    """Where a description belongs in a list of them, so that a claim belongs to its own noun alone.

    In "the disc and the star on the left" and in "the star that passes behind another and the disc", it would not.
    """
    if part.claim.endswith(("another", "column")):
        return LAST
    return 1 if part.claim == "" or part.claim.endswith("est") else 0
