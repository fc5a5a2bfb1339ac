"""Seeds of an expression, and the rule for those that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.instances import as_objects, no_instance, seed
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.overlap import EMPTY_IS_NO_EVIDENCE, iou
from rvos_ensemble.adapters.core.prediction import Objects

MOST_IOU = 0.7  # of two seeds in one frame; scan_agent_badcases.py of Moujuruo/MeViSv2_Track_Solution_2026


@dataclass(frozen=True)
class Seed:
    """The mask of one instance in one frame.

    Attributes:
        instance: its name, unique within the expression.
        frame: index of the frame.
        mask: bool [H, W], at the size of the clip.
        score: confidence.
    """

    instance: str
    frame: int
    mask: np.ndarray
    score: float = 1.0


@dataclass(frozen=True)
class Listing:
    """What a source lists for an expression.

    Attributes:
        seeds: those that could be read.
        bad: why others cannot be used, one sentence each.
        presence: probability that the expression refers to anything; None if the source does not say it.
    """

    seeds: Sequence[Seed] = ()
    bad: Sequence[str] = field(default=())
    presence: float | None = None


NOTHING = Listing(presence=0.0)
"""What a source lists for an expression that refers to nothing."""


def seed_objects(clip: Clip, listed: Mapping[str, Listing], source: str, max_iou: float, drop: bool) -> Objects:
    """The usable seeds of a clip in the form of `instances.py`; equal seeds share their masks.

    Args:
        clip: the clip.
        listed: {expression id: what the source lists}.
        source: its name, for messages.
        max_iou: two seeds of an expression in one frame with a higher IoU are the same instance.
        drop: whether bad seeds are dropped, with the note `dropped` on the other instances of their expression.

    Returns:
        The seeds. An expression of which every seed was dropped keeps its presence and has empty masks.

    Raises:
        InputError: listing all bad seeds, unless they are dropped.
    """
    usable, problems = Objects(), []
    shared: dict[tuple[int, bytes], MaskSequence] = {}
    for expression, listing in listed.items():
        kept, bad = sort_out(listing, max_iou, clip)
        problems += [f"clip {clip.name!r}, expression {expression!r}: {b}" for b in bad]
        notes = {"dropped": bad} if bad else {}
        sequences = {}
        for s in kept:
            new = seed(len(clip), s.frame, s.mask, s.score, listing.presence)
            first = shared.setdefault((s.frame, new.masks.bits.tobytes()), new)
            sequences[s.instance] = new.with_(masks=first.masks, notes={**new.notes, **notes})
        if sequences:
            usable |= as_objects(clip, {expression: sequences})
        else:
            usable[f"{expression}/"] = no_instance(clip, expression, listing.presence, **notes)
    if problems and not drop:
        raise InputError([f"{source}: {p}; repair it, or set `bad: drop`" for p in problems])
    return usable


def sort_out(listing: Listing, max_iou: float, clip: Clip) -> tuple[list[Seed], list[str]]:
    """The usable seeds of an expression in their order, and why the others are bad.

    Of two seeds with too high an IoU, the one with the higher score is usable; of equal scores, the first.
    """
    empty = [s for s in listing.seeds if not s.mask.any()]
    bad = [*listing.bad, *(f"the mask of instance {s.instance!r} is empty" for s in empty)]
    others = [s for s in listing.seeds if s.mask.any()]
    kept: list[Seed] = []
    for s in sorted(others, key=lambda s: -s.score):  # stable: among equal scores the first wins
        if all(_overlap(s, other) <= max_iou for other in kept):
            kept.append(s)
    for a, b in combinations(others, 2):
        if (overlap := _overlap(a, b)) > max_iou:
            bad.append(
                f"instances {a.instance!r} and {b.instance!r} have an IoU of {overlap:.3f} in frame "
                f"{clip.frames[a.frame]!r}, at most {max_iou:g} is expected of two instances"
            )
    return [s for s in others if any(s is k for k in kept)], bad


def _overlap(a: Seed, b: Seed) -> float:
    """The IoU of two seeds; 0 in different frames."""
    return iou(a.mask, b.mask, EMPTY_IS_NO_EVIDENCE) if a.frame == b.frame else 0.0
