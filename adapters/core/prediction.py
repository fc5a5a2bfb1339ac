"""Prediction: the mask sequences of one source or step for one clip, and what must hold of them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence

Prediction: TypeAlias = dict[str, MaskSequence]
"""The masks of one source or step for one clip: {expression id: MaskSequence}."""


class Objects(dict[str, MaskSequence]):
    """The objects of a clip, whoever may mean them: {a name of its own: MaskSequence}, in any number.

    A candidate found in one frame is a sequence that is empty elsewhere, its confidence the score of that frame.
    """

    def __missing__(self, name: str) -> MaskSequence:
        raise InputError(f"objects {', '.join(list(self)[:3])}... where masks of expressions are wanted: `ground` them")


def check_prediction(prediction: Prediction, clip: Clip, source: str) -> Prediction:
    """Returns the prediction when it fits the clip: every expression once, all sizes, kinds and scores right.

    Objects are called as they like.

    Raises:
        InputError: naming everything that does not fit.
    """
    if not isinstance(prediction, dict):
        raise InputError(
            f"{source}: clip {clip.name!r}: predicted a {type(prediction).__name__}, expected "
            "{expression id: MaskSequence}"
        )
    wanted = list(prediction) if isinstance(prediction, Objects) else [e.id for e in clip.expressions]
    found = [f"{source}: clip {clip.name!r}: no masks for expression {i!r}" for i in wanted if i not in prediction]
    for i, sequence in prediction.items():
        if i not in wanted:
            found.append(f"{source}: clip {clip.name!r}: expression {i!r} is not in the data set (it has {wanted})")
        elif not isinstance(sequence, MaskSequence):
            kind = type(sequence).__name__
            found.append(
                f"{source}: clip {clip.name!r}, expression {i!r}: a {kind}, expected a MaskSequence; "
                "`MaskSequence.binary(masks)` makes one"
            )
        else:
            found += sequence_problems(sequence, clip, i, source)
    if found:
        raise InputError(found)
    return prediction


def sequence_problems(sequence: MaskSequence, clip: Clip, expression: str, source: str) -> list[str]:
    """What is wrong with a mask sequence as a prediction of `source` for that expression; empty when nothing is."""
    where = f"{source}: clip {clip.name!r}, expression {expression!r}"
    dtypes = {"binary": (np.bool_,), "prob": (np.uint8,), "votes": (np.uint8, np.uint16)}
    found = []
    if len(sequence) != len(clip):
        found.append(f"{where}: {len(sequence)} masks, expected {len(clip)}, one for every frame of the clip")
    if sequence.size != tuple(clip.size):
        found.append(f"{where}: masks of size {_hw(sequence.size)}, expected the clip's {_hw(clip.size)}")
    if sequence.kind not in dtypes:
        found.append(f"{where}: kind {sequence.kind!r}, expected one of {', '.join(dtypes)}")
    elif sequence.masks.dtype not in dtypes[sequence.kind]:
        names = " or ".join(np.dtype(d).name for d in dtypes[sequence.kind])
        found.append(f"{where}: masks of dtype {sequence.masks.dtype}, expected {names} for kind {sequence.kind!r}")
    if sequence.kind == "votes" and (sequence.total is None or sequence.total < 1):
        found.append(f"{where}: votes out of {sequence.total}, expected the number of votes as `total`")
    if sequence.scores is not None:
        if sequence.scores.shape != (len(clip),):
            found.append(f"{where}: scores of shape {sequence.scores.shape}, expected one a frame: ({len(clip)},)")
        elif not np.isfinite(sequence.scores).all():
            found.append(f"{where}: score of frame {int(np.argmin(np.isfinite(sequence.scores)))} is not finite")
    return found


def _hw(size) -> str:
    return f"{size[0]}x{size[1]} (HxW)"
