"""The frames of a video as a Python caller passes them: arrays, or a folder of pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import names_in, user_path
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import natural

SUFFIXES = (".jpg", ".jpeg", ".png")
SHOWN = 3  # frames whose problems are listed


@dataclass(frozen=True)
class ArrayFrames:
    """The pictures of a clip in memory; the counterpart of `ImageFiles`.

    Attributes:
        images: T arrays uint8 [H, W, 3] RGB of one size.
    """

    images: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return tuple(self.images[0].shape[:2])

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB, contiguous."""
        return np.ascontiguousarray(self.images[t])

    def fingerprint(self) -> str:
        """Hash of all pixels."""
        digest = hashlib.blake2b(repr(self.size).encode(), digest_size=16)
        for t in range(len(self)):
            digest.update(self.read(t))
        return digest.hexdigest()

    def problems(self) -> list[str]:
        """An empty list, because arrays are checked when they arrive."""
        return []


class FolderFrames(ImageFiles):
    """The pictures of a folder, read one at a time."""

    def __len__(self) -> int:
        return len(self.paths)


def frames_of(frames) -> ArrayFrames | FolderFrames:
    """The frames as pictures of a clip.

    Args:
        frames: see `propagate`.

    Raises:
        InputError: neither a folder with pictures nor arrays of the expected shape and dtype.
    """
    if isinstance(frames, (str, os.PathLike)):
        return _pictures_in(user_path(frames))
    images = frames if isinstance(frames, np.ndarray) else _listed(frames)
    if not len(images) or (isinstance(images, np.ndarray) and images.ndim != 4):
        shape = f" of shape {images.shape}" if isinstance(images, np.ndarray) else ""
        raise InputError(f"frames: an array or sequence{shape} without frames, expected uint8 [T, H, W, 3] RGB")
    problems = []
    for t, image in enumerate(images):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            problems.append(f"frames: frame {t} is {described(image)}, expected uint8 [H, W, 3] RGB{_advice(image)}")
        elif isinstance(images[0], np.ndarray) and image.shape != images[0].shape:
            problems.append(f"frames: frame {t} has shape {image.shape}, frame 0 has {images[0].shape}")
        if len(problems) == SHOWN:
            break
    if problems:
        raise InputError(problems)
    return ArrayFrames(images)


def _listed(frames) -> list:
    try:
        return list(frames)
    except TypeError:
        raise InputError(
            f"frames: {shown(frames)}, expected uint8 [T, H, W, 3] RGB, a sequence of frames or a folder of pictures"
        ) from None


def _pictures_in(folder: Path) -> FolderFrames:
    names = [name for name in names_in(folder) if name.lower().endswith(SUFFIXES)]
    if not names:
        raise InputError(f"{folder}: contains no pictures; expected {', '.join(SUFFIXES)} files, one per frame")
    images = FolderFrames(tuple(folder / name for name in sorted(names, key=natural)))
    if problems := images.problems():
        raise InputError(problems)
    return images


def described(value) -> str:
    """What an argument is, for messages: its dtype and shape, or its type."""
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    return f"of type {type(value).__name__}"


def _advice(image) -> str:
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        return "; convert values in 0..1 by `np.round(255 * frames).astype(np.uint8)`"
    return ""
