"""Masks of videos in a folder or a zip: where they lie, which are there, and their pixels.

Two layouts, told apart by what lies in the folder of a video: `VIDEO/FRAME.png`, a label map per frame (a pixel's value
is its object), and `VIDEO/EXPRESSION/FRAME.png`, a binary mask per expression and frame.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core import png
from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.datasets.meta import natural
from rvos_ensemble.adapters.files.storage import Folder, Storage, Zip
from rvos_ensemble.adapters.files.video_folders import find_parent


@dataclass(frozen=True)
class Tree:
    """The folder of all videos.

    Attributes:
        storage: the folder or zip.
        top: where in it the videos lie: "" or a folder's name with `/` at its end.
    """

    storage: Storage
    top: str = ""

    @property
    def where(self) -> str:
        """Its name for messages."""
        return self.storage.where(self.top) if self.top else self.storage.root

    def videos(self) -> list[str]:
        """Names of all folders in it."""
        return self.storage.entries(self.top)[0]

    def frames(self, video: str) -> list[str]:
        """Names of the PNGs of a video (or of VIDEO/EXPRESSION), without suffix, in natural order."""
        files = self.storage.entries(f"{self.top}{video}")[1]
        return sorted((f.removesuffix(".png") for f in files if f.endswith(".png")), key=natural)

    def masks(self, video: str, frames: Sequence[str]) -> Masks:
        """The named frames of a video (or of VIDEO/EXPRESSION); those that are not there are None."""
        there = set(self.storage.entries(f"{self.top}{video}")[1])
        names = (f"{frame}.png" for frame in frames)
        return Masks(self.storage, tuple(f"{self.top}{video}/{n}" if n in there else None for n in names))


@dataclass(frozen=True)
class Masks:
    """Label maps of some frames, read one at a time.

    Attributes:
        storage: what they lie in.
        names: of their files; None where there is none.
    """

    storage: Storage
    names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, t: int) -> str:
        """The file's name for messages."""
        return self.storage.where(self.names[t])

    def data(self, t: int) -> bytes:
        """The file of frame t, as it is."""
        return self.storage.read(self.names[t])

    def read(self, t: int, size: tuple[int, int] | None = None, data: bytes | None = None) -> np.ndarray:
        """Frame t, uint8 [H, W], as stored.

        Args:
            t: a frame that there is.
            size: (H, W) that it must have.
            data: its file, where that has been read.

        Raises:
            InputError: unreadable, a colour picture, or of another size.
        """
        values = png.decode(self.data(t) if data is None else data, self.where(t)).values
        if size is not None and values.shape != size:
            (h, w), (height, width) = values.shape, size
            raise InputError(
                f"{self.where(t)}: {h}x{w} (HxW), expected the ground truth's {height}x{width}; masks are never "
                "resized: write them at the size of the video"
            )
        return values


def open_tree(path: Path | str, what: str) -> Tree:
    """A folder or a zip, from its top.

    Args:
        path: to it.
        what: the argument that names it, for messages.

    Raises:
        InputError: neither.
    """
    path = user_path(path)
    if os.path.isdir(path):
        return Tree(Folder(str(path)))
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such folder or zip, given as `{what}`")
    storage = Zip(str(path))
    storage.entries("")  # fails here when it is no zip
    if found := storage.problems():
        raise InputError(found)
    return Tree(storage)


def truth_tree(path: Path, folders: Sequence[str]) -> Tree:
    """The ground truth: the first of some folders that is there, else `path` itself.

    Raises:
        InputError: there is nothing, or no video in it.
    """
    storage = open_tree(path, "gt").storage
    for top in (*(f"{folder}/" for folder in folders), ""):
        tree = Tree(storage, top)
        if any(tree.frames(video) for video in tree.videos()):
            return tree
    raise InputError(
        f"{storage.root}: no video with PNG annotations, given as `gt`; expected VIDEO/FRAME.png in it"
        + f" or in {' or '.join(folders)}; at the top: {_holds(Tree(storage))}"
    )


def prediction_tree(start: Tree, videos: Collection[str]) -> Tree:
    """The predictions: at the top, or in `Annotations`, in the folder of a split, in a folder that is alone.

    Args:
        start: where to look, a folder or zip or a folder in one.
        videos: those of the ground truth, of which at least one must be there.

    Raises:
        InputError: they are nowhere, or in several places.
    """
    if tree := find_tree(start, videos):
        return tree
    raise InputError(
        f"{start.where}: none of the {len(videos)} videos of the ground truth ({first_few(sorted(videos), 3)}) is in "
        f"it; expected a folder for each at the top or in Annotations/; at the top: {_holds(start)}"
    )


def find_tree(start: Tree, folders: Collection[str]) -> Tree | None:
    """The folder that holds one or more of these folders, None where there is none.

    Raises:
        InputError: there are several.
    """
    parent = find_parent(start.storage, folders, start.top)
    return None if parent is None else Tree(start.storage, parent)


def _holds(tree: Tree) -> str:
    folders, files = tree.storage.entries(tree.top)
    return first_few(folders + files)
