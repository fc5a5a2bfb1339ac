"""Sentences about a clip of `shapes`, each true of one object alone.

A sentence consists of a noun phrase ("the red star", "the one") and, usually, a claim ("that turns back").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.claims import SEEN, Claim, Tracks, claims
from rvos_ensemble.adapters.datasets.shapes.things import COLOURS, PATTERNS, SHAPES, Appearance, Scene

VOCABULARY: tuple[str, ...] = (
    *("the", "one", "thing", "that", "is", "on", "at", "to", "of", "in", "and", "not"),
    *SHAPES,
    *COLOURS,
    *PATTERNS,
    *("left", "right", "top", "bottom", "up", "down", "first", "end"),
    *("largest", "smallest", "fastest", "larger", "smaller", "closer"),
    *("moves", "goes", "turns", "turn", "back", "stays", "place", "hardly", "does", "spins"),
    *("leaves", "comes", "view", "away", "gets", "starts", "ends", "enters"),
    *("passes", "behind", "front", "another", "column", "hidden", "for", "a", "while"),
)
ANY = ("one", "thing")  # nouns that fit every object


@dataclass(frozen=True)
class Sentence:
    """An expression. `by_appearance`: one frame is enough to understand it; otherwise it refers to motion."""

    text: str
    by_appearance: bool


def describe(scene: Scene, tracks: Tracks, rng: np.random.Generator, most: int = 4) -> list[list[Sentence]]:
    """Sentences about every object, half of them about motion if possible; an object may have none.

    Args:
        scene: the rendered scene.
        tracks: what its frames show.
        rng: selects the sentences.
        most: most sentences per object.
    """
    appearances = [thing.appearance for thing in scene.objects]
    column = len(scene.objects) < len(scene.things)
    all_ = claims(scene, tracks)
    clear = shown(tracks)
    sentences = []
    for k in range(len(appearances)):
        if not clear[k]:
            sentences.append([])
            continue
        last = [0.5 * claim.of_scenery for claim in all_]  # claims that could hold for a column come later
        order = np.argsort(rng.random(len(all_)) + last)
        about = [s for i in order if (s := _about(k, all_[i], appearances, column, rng))]
        named = [Sentence(f"the {noun}", True) for noun, same in _nouns(appearances, k) if len(same) == 1]
        by_appearance = [s for s in about if s.by_appearance] + named
        by_appearance = [by_appearance[i] for i in rng.permutation(len(by_appearance))]
        by_motion = [s for s in about if not s.by_appearance]
        take = max(most // 2, most - len(by_motion))
        sentences.append(by_appearance[:take] + by_motion[: most - min(take, len(by_appearance))])
    return sentences


def shown(tracks: Tracks) -> np.ndarray:
    """Which objects are visible for long enough, and are large enough, to be described, bool [N]."""
    return ((tracks.seen >= SEEN).mean(0) >= 0.3) & (np.median(tracks.side, axis=0) > 0.06)


def nouns(appearance: Appearance) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Names for an object, each with the traits that it states, attributes of `Appearance`."""
    shape, colour, pattern = appearance.shape, appearance.colour, appearance.pattern
    return (
        *((name, ()) for name in ANY), (shape, ("shape",)),
        (f"{colour} one", ("colour",)), (f"{colour} {shape}", ("colour", "shape")),
        (f"{pattern} one", ("pattern",)), (f"{pattern} {shape}", ("pattern", "shape")),
        (f"{pattern} {colour} {shape}", ("pattern", "colour", "shape")),
    )  # fmt: skip


def same_traits(appearances: list[Appearance], appearance: Appearance, traits: tuple[str, ...]) -> list[int]:
    """The objects that have these traits of an appearance."""
    return [
        j for j, other in enumerate(appearances) if all(getattr(other, t) == getattr(appearance, t) for t in traits)
    ]


def _about(k: int, claim: Claim, appearances: list[Appearance], column: bool, rng) -> Sentence | None:
    """The claim about object k, with a noun that fits other objects too, so that the claim is necessary."""
    if not claim.sure[k]:
        return None
    nouns = _nouns(appearances, k)[len(ANY) if column and claim.of_scenery else 0 :]
    for i in rng.permutation(len(nouns)):
        noun, same = nouns[i]
        if len(same) > 1 and not any(claim.rivals[k, j] for j in same if j != k):
            return Sentence(claim.phrase(noun), claim.by_appearance)
    return None


def _nouns(appearances: list[Appearance], k: int) -> list[tuple[str, list[int]]]:
    """Names for object k, each with the objects that it fits."""
    mine = appearances[k]
    return [(name, same_traits(appearances, mine, traits)) for name, traits in nouns(mine)]
