"""The frames of a clip as image files, decoded one at a time; every error names its file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Frames
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import exists, read_file
from rvos_ensemble.adapters.core.io.hashing import contents_hash
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.datasets.file_problems import file_problems, other_size
from rvos_ensemble.adapters.datasets.picture_size import MOST_BYTES, picture_size, size_of


def frames_in(folder: Path, paths: tuple[Path, ...], masks: tuple[Path, ...] = ()) -> Frames:
    """The frames of a clip; where the data set has no pictures, only their size, from the first mask that exists.

    Args:
        folder: with the pictures of all clips.
        paths: the pictures of the clip, below this folder.
        masks: annotations of the clip as PNG.
    """
    if exists(folder):
        return ImageFiles(paths)
    return NoPictures(str(folder), next((mask for mask in masks if exists(mask)), None))


@dataclass(frozen=True)
class ImageFiles:
    """The frames of a clip, one file per frame.

    Attributes:
        paths: JPEG or PNG files, in order.
    """

    paths: tuple[Path, ...]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(H, W) of the first frame, from its header."""
        return picture_size(self.paths[0])

    def read(self, t: int) -> np.ndarray:
        """Frame t as uint8 [H, W, 3] RGB, as stored: an orientation tag is ignored, as annotations ignore it.

        Raises:
            InputError: the file is missing, damaged, or of another size than the first.
        """
        path, data = self.paths[t], read_file(self.paths[t], MOST_BYTES)
        image = None if _is_truncated(data) else _decode(data, path)
        if image is None:
            raise InputError(f"{path}: not a readable picture ({len(data)} bytes); copy or unpack it again")
        if image.shape[:2] != self.size:
            raise InputError(other_size(path, image.shape[:2], self.size))
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def fingerprint(self) -> str:
        """Hash of all files in order."""
        return contents_hash(self.paths)

    def problems(self) -> list[str]:
        """Missing files, unreadable headers and differing sizes; nothing is decoded."""
        return file_problems(self.paths, picture_size, "frames")

    def inspect(self) -> list[str]:
        """Like `problems`, but every frame is decoded."""

        def decoded_size(path: Path) -> tuple[int, int]:
            return ImageFiles((path,)).read(0).shape[:2]

        return file_problems(self.paths, decoded_size, "frames")


def _decode(data: bytes, path: Path) -> np.ndarray | None:
    """BGR pixels as stored, None where OpenCV cannot decode them.

    Raises:
        InputError: not a picture, a PNG with a damaged part, or a header with more pixels than are decoded here.
    """
    size_of(data, path)
    if data.startswith(png.SIGNATURE):
        png.verify(data, str(path))  # OpenCV invents the missing part of a PNG
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def _is_truncated(data: bytes) -> bool:
    """Whether a JPEG has no end marker after its last scan; some decoders fill the rest with grey and do not fail."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
