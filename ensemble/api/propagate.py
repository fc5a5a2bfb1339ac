"""`rv.propagate`: one mask of one frame through a video, from arrays or a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Frames
from rvos_ensemble.adapters.core.component import make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.ensemble.api.frames import described, frames_of
from rvos_ensemble.ensemble.fusion.arrays import as_mask
from rvos_ensemble.ensemble.recipe.components import class_of
from rvos_ensemble.propagators.core import propagate as sweeps
from rvos_ensemble.propagators.core.propagator import Propagator


class Propagation(NamedTuple):
    """The result of `propagate`.

    Attributes:
        masks: bool [T, H, W], foreground where the probability is above 0.5.
        probabilities: uint8 [T, H, W], 0..255 means 0..1.
        scores: float32 [T], the mean probability inside the mask of each frame; 0 where the mask is empty.
    """

    masks: np.ndarray
    probabilities: np.ndarray
    scores: np.ndarray


def propagate(
    frames: np.ndarray | Sequence[np.ndarray] | str | os.PathLike,
    mask: np.ndarray,
    key_frame: int,
    with_: str | Propagator = "flow",
    *,
    expression: str = "",
    **settings,
) -> Propagation:
    """Propagates the mask of one frame forward to the end and backward to the start of a video.

    Args:
        frames: uint8 [T, H, W, 3] RGB as one array or a sequence of T arrays [H, W, 3]; or a folder of JPEG or PNG
            pictures, which are read one at a time in the natural order of their names.
        mask: bool [H, W], or integers that are all 0/1 or all 0/255.
        key_frame: index of the frame that the mask belongs to, from 0 to T - 1. The result there is the mask itself.
        with_: the propagator: a name such as "flow", "aot" or "deaot" (`run_ensemble list` shows all), the path of a
            .py file with a propagator of your own, or an instance, which keeps its weights loaded between calls.
        expression: the sentence that refers to the object, for propagators that read it.
        settings: of the propagator, such as `weights="aot_nano"`; not allowed together with an instance.

    Returns:
        Masks, probabilities and scores of all T frames.

    Raises:
        InputError: naming everything that is wrong with the frames, the mask, the key frame or the settings.

    >>> frames = np.random.default_rng(0).integers(0, 255, (3, 40, 60, 3), np.uint8)
    >>> mask = np.zeros((40, 60), bool)
    >>> mask[10:30, 20:40] = True
    >>> result = propagate(frames, mask, key_frame=1, max_side=64)
    >>> result.masks.shape, result.probabilities.dtype, bool((result.masks[1] == mask).all())
    ((3, 40, 60), dtype('uint8'), True)
    """
    problems: list[str] = []
    images = _attempt(problems, frames_of, frames)
    mask = _attempt(problems, _as_mask, mask)
    propagator = _attempt(problems, _propagator_of, with_, settings)
    if images is not None:
        problems += _misfits(images, mask, key_frame)
    if problems:
        raise InputError(problems)
    clip = Clip("frames", tuple(f"{t:05d}" for t in range(len(images))), (), images)
    empty = np.zeros_like(mask)
    sequence = MaskSequence.binary(mask if t == key_frame else empty for t in range(len(clip)))
    task = sweeps.PropagationTask(sequence, (int(key_frame),), sentence=expression)
    [result] = sweeps.propagate(clip, [task], propagator)
    probabilities = np.stack([result.masks[t] for t in range(len(clip))])
    return Propagation(probabilities > 127, probabilities, result.scores)


def _as_mask(mask) -> np.ndarray:
    """The mask as bool [H, W].

    Raises:
        InputError: another number of dimensions, or values that do not say what is foreground.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or not mask.size:
        raise InputError(f"mask: {described(mask)}, expected bool [H, W]")
    try:
        return as_mask(mask, 0)
    except ValueError as error:
        raise InputError(str(error).replace("masks[0]", "mask")) from None


def _propagator_of(with_: str | Propagator, settings: dict) -> Propagator:
    if isinstance(with_, Propagator):
        if settings:
            raise InputError(f"{', '.join(settings)}: settings belong to a propagator's name; `with_` is an instance")
        return with_
    if not isinstance(with_, str):
        raise InputError(f"with_: {shown(with_)}, expected the name of a propagator, a .py file or an instance")
    return make(class_of("propagator", with_), settings)


def _misfits(images: Frames, mask: np.ndarray | None, key_frame: int) -> list[str]:
    problems = []
    if mask is not None and mask.shape != tuple(images.size):
        problems.append(f"mask: shape {mask.shape}, expected the frames' {tuple(images.size)} (H, W)")
    whole = isinstance(key_frame, (int, np.integer)) and not isinstance(key_frame, bool)
    if not whole or not 0 <= key_frame < len(images):
        problems.append(f"key_frame: {shown(key_frame)}, expected a whole number from 0 to {len(images) - 1}")
    return problems


def _attempt(problems: list[str], function, *arguments):
    """The function's result; where its input is wrong, its sentences join the problems and the result is None."""
    try:
        return function(*arguments)
    except InputError as error:
        problems += error.problems
        return None
