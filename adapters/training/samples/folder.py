"""Endless training samples from a folder in the layout of YouTube-VOS or DAVIS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.training.samples.annotated_videos import AnnotatedVideo, meta_paths, read_annotated
from rvos_ensemble.adapters.training.samples.sample import ENDLESS, VOID, Sample, spread_indices

MAX_STEP = 5  # largest distance between two frames of a sample, in annotated frames
TRIES = 20  # clips that are drawn until one shows an object


class FolderClips(Dataset):
    """Random clips of a folder: sample i depends on the seed and on i alone.

    `ROOT/JPEGImages/VIDEO/FRAME.jpg` and `ROOT/Annotations/VIDEO/FRAME.png` (DAVIS has a folder `480p` in between);
    frames without an annotation are skipped. Expressions come from `meta_expressions.json` in ROOT or, as in
    Ref-YouTube-VOS, from `ROOT/../meta_expressions/NAME_OF_ROOT/`; expressions for several objects are skipped. The
    objects of a sample are renumbered from 1. The video, the first frame and the step are random.

    Args:
        root: the folder.
        frames: number of frames per sample; a shorter video is played forward and backward.
        size: (H, W) of the resized frames; None keeps the original size.
        seed: another seed gives other samples.
        spread: sample frames from the whole video; otherwise they are 1 to 5 annotated frames apart.
        with_expressions: every sample has at least one expression.

    Raises:
        InputError: the folders or annotated videos are missing, or expressions are malformed, or missing although
            `with_expressions` is set.
    """

    def __init__(
        self,
        root: str | Path,
        frames: int,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        spread: bool = False,
        with_expressions: bool = False,
    ):
        self.frames, self.size, self.seed, self.spread = frames, size and tuple(size), seed, spread
        self.with_expressions = with_expressions
        self.root = Path(os.path.realpath(user_path(root)))
        self.videos = read_annotated(self.root)
        if with_expressions:
            self.videos = [v for v in self.videos if v.expressions]
            if not self.videos:
                raise InputError(
                    f"{self.root}: no annotated video has an expression of one object; expected "
                    f"{' or '.join(map(str, meta_paths(self.root)))}"
                )

    @property
    def sentences(self) -> list[str]:
        """The texts of all expressions."""
        return [text for video in self.videos for text, _ in video.expressions]

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        video, times, ids = self._draw(np.random.default_rng([self.seed, index]))
        images = [video.images.read(t) for t in times]
        if self.size:
            wide = self.size[::-1]
            images = [cv2.resize(image, wide, interpolation=cv2.INTER_AREA) for image in images]
            ids = [cv2.resize(frame, wide, interpolation=cv2.INTER_NEAREST) for frame in ids]
        return _renumbered(np.stack(images), np.stack(ids), video.expressions)

    def _draw(self, rng: np.random.Generator) -> tuple[AnnotatedVideo, list[int], list[np.ndarray]]:
        """A random video, frame indices and their labels, drawn until they show an object that can be used.

        Raises:
            InputError: no drawn clip shows an object with an expression, although `with_expressions` is set.
        """
        for _ in range(TRIES):
            video = self.videos[rng.integers(len(self.videos))]
            times = self._frame_indices(len(video.masks), rng)
            ids = [video.labels(t) for t in times]
            named = {own for _, own in video.expressions}
            if self.with_expressions and any(np.isin(frame, [*named]).any() for frame in ids):
                break
            if not self.with_expressions and ((ids[0] > 0) & (ids[0] < VOID)).any():
                break
        else:
            if self.with_expressions:
                raise InputError(f"{self.root}: {TRIES} clips in a row show no object that an expression refers to")
        return video, times, ids

    def _frame_indices(self, length: int, rng: np.random.Generator) -> list[int]:
        """Random frame indices in ascending order."""
        if self.spread and length >= self.frames:
            return spread_indices(length, self.frames, rng).tolist()
        step = int(rng.integers(1, max(1, min(MAX_STEP, (length - 1) // max(self.frames - 1, 1))) + 1))
        first = int(rng.integers(max(1, length - step * (self.frames - 1))))
        period = 2 * max(length - 1, 1)  # of playing forward and backward
        steps = [(first + step * t) % period for t in range(self.frames)]
        return [min(t, period - t) if length > 1 else 0 for t in steps]


class WholeVideos(Sequence):
    """Every annotated video of a folder as one sample, for validation.

    Args:
        root: a folder as for `FolderClips`.
        step: one annotated frame in that many is used.

    Raises:
        InputError: as `FolderClips`.
    """

    def __init__(self, root: str | Path, step: int = 1):
        self.videos, self.step = read_annotated(Path(os.path.realpath(user_path(root)))), step

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Sample:
        video = self.videos[index]
        times = range(0, len(video.masks), self.step)
        images, ids = (np.stack([read(t) for t in times]) for read in (video.images.read, video.labels))
        return _renumbered(images, ids, video.expressions)


def _renumbered(images: np.ndarray, ids: np.ndarray, expressions: Sequence[tuple[str, int]]) -> Sample:
    """A sample whose objects have the ids 1..n, with the expressions of the visible objects."""
    counts = np.bincount(ids.ravel(), minlength=256)  # several times as fast as `np.unique`
    objects = [k for k in np.flatnonzero(counts).tolist() if 0 < k < VOID]
    table = np.zeros(256, np.uint8)
    table[objects], table[VOID] = np.arange(1, len(objects) + 1), VOID
    return Sample(images, table[ids], tuple((text, int(table[own])) for text, own in expressions if own in objects))
