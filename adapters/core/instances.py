"""Instances: the objects that one expression refers to, each with a mask sequence and a key frame of its own.

An instance is one of `Objects`, called "EXPRESSION/INSTANCE", and its notes say what it belongs to:

    {"expression": id, "instance": name, "key_frame": index of the frame to propagate from}

A seed is an instance that has a mask in its key frame only; the score of that frame is its confidence. An instance may
also have masks in other frames, such as a query of ReferDINO. `propagate` with `key_frame: given` propagates every
instance from its own key frame, and `unite` joins the instances of each expression.

A source lists every expression of the clip. An expression without instances has one object with empty masks, whose note
`instance` is None: its presence is 0 if the expression refers to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.prediction import Objects, Prediction

# what `propagate` keeps; `dropped`: see the step `seeds`; `label`: the class that a segmenter names; `answers`: the
# expressions that the mask answers, see the step `candidates`
NOTES = ("expression", "instance", "key_frame", "dropped", "label", "answers")


@dataclass(frozen=True)
class OneMask:
    """Binary masks that are empty in all frames but one; implements `Masks`.

    Attributes:
        shape: (T, H, W).
        t: the frame that is not empty.
        bits: the mask of that frame, packed, uint8 [H, ceil(W / 8)].
    """

    shape: tuple[int, int, int]
    t: int
    bits: np.ndarray
    dtype: ClassVar[np.dtype] = np.dtype(bool)

    def __getitem__(self, t: int) -> np.ndarray:
        if not 0 <= t < self.shape[0]:
            raise IndexError(f"frame {t} of {self.shape[0]}")
        if t != self.t:
            return np.zeros(self.shape[1:], bool)
        return np.unpackbits(self.bits, axis=1, count=self.shape[2]).view(bool)


def seed(length: int, t: int, mask: np.ndarray, score: float = 1.0, presence: float | None = None) -> MaskSequence:
    """A mask in one frame of a clip, empty in all others.

    Args:
        length: the number of frames of the clip.
        t: the frame.
        mask: bool [H, W].
        score: the confidence, which becomes the score of frame t; that of other frames is 0.
        presence: see `MaskSequence`.

    >>> s = seed(3, 1, np.eye(2, dtype=bool), 0.5)
    >>> [int(s.mask(t).sum()) for t in range(3)], s.scores.tolist(), s.notes
    ([0, 2, 0], [0.0, 0.5, 0.0], {'key_frame': 1})
    """
    scores = np.zeros(length, np.float32)
    scores[t] = score
    masks = OneMask((length, *mask.shape), t, np.packbits(mask, axis=1))
    return MaskSequence(masks, scores=scores, notes={"key_frame": t}, presence=presence)


def as_objects(clip: Clip, listed: Mapping[str, Mapping[str, MaskSequence]]) -> Objects:
    """The instances of all expressions as the objects of a clip.

    Args:
        clip: the clip.
        listed: {expression id: {name of the instance: its masks, with the note `key_frame`}}; an expression with an
            empty mapping refers to nothing.

    Returns:
        {"EXPRESSION/INSTANCE": masks}, in the order of `listed`, with the notes of instances; for an expression without
        instances {"EXPRESSION/": empty masks of presence 0}.
    """
    objects = Objects()
    for expression, instances in listed.items():
        for name, sequence in instances.items():
            notes = {"expression": expression, "instance": name, **sequence.notes}
            objects[f"{expression}/{name}"] = sequence.with_(notes=notes)
        if not instances:
            objects[f"{expression}/"] = no_instance(clip, expression, presence=0.0)
    return objects


def no_instance(clip: Clip, expression: str, presence: float | None, **notes) -> MaskSequence:
    """The empty masks of an expression that has no instance.

    Args:
        clip: the clip.
        expression: its id.
        presence: 0 if the expression refers to nothing; another value, or None, if its instances are only not known.
        notes: further notes.
    """
    masks = OneMask((len(clip), *clip.size), 0, np.packbits(np.zeros(clip.size, bool), axis=1))
    own = {"expression": expression, "instance": None, "key_frame": 0}
    scores = np.zeros(len(clip), np.float32)
    return MaskSequence(masks, scores=scores, notes={**own, **notes}, presence=presence)


def by_expression(objects: Prediction, clip: Clip, source: str) -> dict[str, list[MaskSequence]]:
    """The instances of each expression of the clip, in their order, by their notes.

    Returns:
        {expression id: its sequences}, every expression of the clip with at least one sequence; that of an expression
        without instances is empty and has the note `instance` None.

    Raises:
        InputError: objects that are no instances, or expressions that the source does not list.
    """
    strangers = [name for name, sequence in objects.items() if not {"expression", "instance"} <= sequence.notes.keys()]
    if strangers:
        raise InputError(
            f"clip {clip.name!r}: {source} has objects that belong to no expression ({first_few(strangers)}), expected "
            "instances of expressions, as the adapter `seeds` and the step `seeds` give them; for other objects use "
            "`ground`"
        )
    groups: dict[str, list[MaskSequence]] = {e.id: [] for e in clip.expressions}
    for sequence in objects.values():
        groups.setdefault(sequence.notes["expression"], []).append(sequence)
    if missing := [expression for expression, group in groups.items() if not group]:
        raise InputError(
            f"clip {clip.name!r}: {source} does not list the expressions {first_few(missing)}; list an expression that "
            "refers to nothing with an empty list of instances"
        )
    return {e.id: groups[e.id] for e in clip.expressions}
