"""Masks of videos in a folder or a zip: their location, which frames are present, and their pixels.

There are two layouts, distinguished by the content of a video's folder: `VIDEO/FRAME.png`, one label map per frame, in
which the value of a pixel is the number of its object; and `VIDEO/EXPRESSION/FRAME.png`, one binary mask per expression
and frame.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.datasets.meta import natural
from rvos_ensemble.adapters.files.storage import Folder, Storage, Zip
from rvos_ensemble.adapters.files.video_folders import find_parent

VOID = 255  # in the label maps of a ground truth: pixels that belong to no object with certainty


@dataclass(frozen=True)
class Tree:
    """The folder that holds the folders of all videos.

    Attributes:
        storage: the folder or zip.
        top: where in the storage the folders lie: "" or a path with `/` at its end.
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

    def folders(self, video: str) -> list[str]:
        """Names of all folders of a video."""
        return self.storage.entries(f"{self.top}{video}")[0]

    def frames(self, video: str) -> list[str]:
        """Names of the PNGs of a video (or of VIDEO/EXPRESSION), without suffix, in natural order."""
        files = self.storage.entries(f"{self.top}{video}")[1]
        return sorted((f.removesuffix(".png") for f in files if f.endswith(".png")), key=natural)

    def masks(self, video: str, frames: Sequence[str]) -> MaskFiles:
        """The files of some frames of a video (or of VIDEO/EXPRESSION)."""
        present = set(self.storage.entries(f"{self.top}{video}")[1])
        names = (f"{frame}.png" for frame in frames)
        return MaskFiles(self.storage, tuple(f"{self.top}{video}/{n}" if n in present else None for n in names))


@dataclass(frozen=True)
class MaskFiles:
    """Masks or label maps of some frames, read one at a time.

    Attributes:
        storage: the folder or zip that contains the files.
        names: of the files; None where a file is missing.
    """

    storage: Storage
    names: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, t: int) -> str:
        """The name of the file of frame t for messages."""
        return self.storage.where(self.names[t])

    def data(self, t: int) -> bytes:
        """The content of the file of frame t."""
        return self.storage.read(self.names[t])

    def read(self, t: int, size: tuple[int, int] | None = None, data: bytes | None = None) -> np.ndarray:
        """Frame t, uint8 [H, W], as stored.

        Args:
            t: a frame whose file exists.
            size: (H, W) that it must have.
            data: the content of the file, if it has been read already.

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
        path: of the folder or zip.
        what: the argument that names it, for messages.

    Raises:
        InputError: neither a folder nor a zip.
    """
    path = user_path(path)
    if os.path.isdir(path):
        return Tree(Folder(str(path)))
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such folder or zip, given as `{what}`")
    storage = Zip(str(path))
    storage.entries("")  # raises if it is not a zip
    if problems := storage.problems():
        raise InputError(problems)
    return Tree(storage)


def truth_tree(path: Path, folders: Sequence[str] = ()) -> Tree:
    """The ground truth: in the first of some folders that contains videos, else in `path` itself.

    Raises:
        InputError: no such path, or no video in it.
    """
    storage = open_tree(path, "gt").storage
    for top in (*(f"{folder}/" for folder in folders), ""):
        tree = Tree(storage, top)
        if any(tree.frames(video) for video in tree.videos()):
            return tree
    raise InputError(
        f"{storage.root}: no video with PNG annotations, given as `gt`; expected VIDEO/FRAME.png in it"
        + "".join(f" or in {' or '.join(folders)}" for _ in folders[:1])
        + f"; at the top: {_entries(Tree(storage))}"
    )


def prediction_tree(start: Tree, videos: Collection[str]) -> Tree:
    """The predictions: at the top, in `Annotations`, in the folder of a split, or in a folder that is the only one.

    Args:
        start: where the search starts: a folder or zip, or a folder in one.
        videos: those of the ground truth, of which at least one must be present.

    Raises:
        InputError: no predictions, or predictions in several places.
    """
    if tree := find_tree(start, videos):
        return tree
    raise InputError(
        f"{start.where}: none of the {len(videos)} videos of the ground truth ({first_few(sorted(videos), 3)}) is in "
        f"it; expected a folder for each at the top or in Annotations/; at the top: {_entries(start)}"
    )


def find_tree(start: Tree, folders: Collection[str]) -> Tree | None:
    """The folder that contains at least one of some folders; None if there is no such folder.

    Raises:
        InputError: there are several.
    """
    parent = find_parent(start.storage, folders, start.top)
    return None if parent is None else Tree(start.storage, parent)


def _entries(tree: Tree) -> str:
    """The first folders and files of a tree, for messages."""
    folders, files = tree.storage.entries(tree.top)
    return first_few(folders + files)
