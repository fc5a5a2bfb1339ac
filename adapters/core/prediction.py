"""Prediction: the mask sequences of one source or step for one clip, and the checks that it must pass."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence

Prediction: TypeAlias = dict[str, MaskSequence]
"""The masks of one source or step for one clip: {expression id: MaskSequence}."""


class Objects(dict[str, MaskSequence]):
    """The objects of a clip: {name of the object: MaskSequence}, any number of them.

    A candidate that was detected in one frame is a sequence that is empty in all others; its confidence is the score of
    that frame. Objects belong to no expression, unless their notes make them instances of one, see `instances.py`.
    """

    def __missing__(self, name: str) -> MaskSequence:
        names = ", ".join(list(self)[:3])
        raise InputError(
            f"objects {names}... where masks of expressions are wanted: `ground` them, or `unite` instances"
        )


def check_prediction(prediction: Prediction, clip: Clip, source: str, origin: str = "") -> Prediction:
    """Returns the prediction if it fits the clip: every expression once, with the right sizes, kinds and scores.

    The names of `Objects` are arbitrary.

    Args:
        prediction: what a source or step returned.
        clip: the clip.
        source: name of the source or step, for messages.
        origin: where the user's code defines it, "my_model.py, line 8", for messages; see `own_code.origin`.

    Raises:
        InputError: naming everything that does not fit.
    """
    source = f"{source} ({origin})" if origin else source
    where = f"{source}: clip {clip.name!r}"
    if not isinstance(prediction, dict):
        raise InputError(
            f"{where}: predicted {_kind(prediction)}, expected {{expression id: MaskSequence}}, such as "
            "{e.id: MaskSequence.binary(masks) for e in clip.expressions}"
        )
    wanted = list(prediction) if isinstance(prediction, Objects) else [e.id for e in clip.expressions]
    problems = [f"{where}: no masks for expression {i!r}" for i in wanted if i not in prediction]
    for i, sequence in prediction.items():
        if i not in wanted:
            problems.append(f"{where}: expression {i!r} is not in the data set (it has {wanted})")
        elif not isinstance(sequence, MaskSequence):
            problems.append(
                f"{where}, expression {i!r}: {_kind(sequence)}, expected a MaskSequence; "
                f"`{_wrapping(sequence)}` makes one"
            )
        else:
            problems += sequence_problems(sequence, clip, i, source)
    if problems:
        raise InputError(problems)
    return prediction


def _kind(value: Any) -> str:
    """What a wrong value is, in words: its type, and the shape and dtype of an array or tensor."""
    name = "array" if isinstance(value, np.ndarray) else type(value).__name__
    what = f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    return f"{what} {list(value.shape)} of dtype {value.dtype}" if is_array else what


def _wrapping(value: Any) -> str:
    """The call that turns a value into a MaskSequence, as far as its dtype says which one."""
    dtype = str(getattr(value, "dtype", "bool")).removeprefix("torch.")
    if dtype == "uint8":
        return "MaskSequence.prob(masks)"
    return (
        "MaskSequence.prob(quantise(masks))" if dtype.startswith(("float", "bfloat")) else "MaskSequence.binary(masks)"
    )


def sequence_problems(sequence: MaskSequence, clip: Clip, expression: str, source: str) -> list[str]:
    """Everything that is wrong with a mask sequence that `source` predicted for an expression; empty if it is valid."""
    where = f"{source}: clip {clip.name!r}, expression {expression!r}"
    dtypes = {"binary": (np.bool_,), "prob": (np.uint8,), "votes": (np.uint8, np.uint16)}
    shape = getattr(sequence.masks, "shape", ())
    if len(shape) != 3:
        return [f"{where}: its masks are {_kind(sequence.masks)}, expected T masks, an array [T, H, W]"]
    problems = []
    if len(sequence) != len(clip):
        problems.append(f"{where}: {len(sequence)} masks, expected {len(clip)}, one for every frame of the clip")
    if sequence.size != tuple(clip.size):
        problems.append(f"{where}: masks of size {_hw(sequence.size)}, expected the clip's {_hw(clip.size)}")
    if sequence.kind not in dtypes:
        problems.append(f"{where}: kind {sequence.kind!r}, expected one of {', '.join(dtypes)}")
    elif sequence.masks.dtype not in dtypes[sequence.kind]:
        names = " or ".join(np.dtype(d).name for d in dtypes[sequence.kind])
        problems.append(f"{where}: masks of dtype {sequence.masks.dtype}, expected {names} for kind {sequence.kind!r}")
    if sequence.kind == "votes" and (sequence.total is None or sequence.total < 1):
        problems.append(f"{where}: votes out of {sequence.total}, expected the number of votes as `total`")
    if sequence.scores is not None:
        if np.shape(sequence.scores) != (len(clip),):
            problems.append(
                f"{where}: scores of shape {np.shape(sequence.scores)}, expected one score per frame: ({len(clip)},)"
            )
        elif not np.isfinite(sequence.scores).all():
            problems.append(f"{where}: score of frame {int(np.argmin(np.isfinite(sequence.scores)))} is not finite")
    if sequence.presence is not None and not 0 <= sequence.presence <= 1:  # NaN is refused, too
        problems.append(f"{where}: presence {sequence.presence}, expected a probability in 0..1, or None")
    return problems


def _hw(size) -> str:
    return f"{size[0]}x{size[1]} (HxW)"
