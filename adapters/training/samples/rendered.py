"""Endless training samples from `shapes`, rendered on demand."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.datasets.shapes.clips import film
from rvos_ensemble.adapters.datasets.shapes.levels import LEVELS, SMALLEST, SPLITS
from rvos_ensemble.adapters.training.samples.sample import ENDLESS, Sample, spread_indices

LENGTH = 24  # frames of a clip of `shapes`


class RenderedClips(Dataset):
    """Clips of `shapes`: sample i depends on the arguments and on i alone.

    Random are the kind of scene, the number of objects, their appearance, twins, paths, sizes, rotation, bending,
    columns and depth order, the background, camera, light, focus, shutter, noise, the sampled frames and the
    expressions; the level sets the ranges, see `adapters.datasets.shapes.scenes.OF_LEVEL`. Expressions are true of the
    sampled frames: with fewer frames, or frames closer to each other, fewer expressions describe motion.

    Args:
        seed: another seed gives other samples.
        frames: number of frames per sample, 1 to 24.
        size: (H, W) in pixels.
        split: "train", "val" or "test"; the splits share no sample.
        level: "easy", "medium" or "hard"; None alternates between all levels.
        spread: sample frames from the whole clip, which expressions about motion need; otherwise frames are 1 to 4
            steps apart, at a random place of the clip.

    Raises:
        InputError: naming every invalid argument.
    """

    def __init__(
        self,
        seed: int,
        frames: int,
        size: tuple[int, int],
        split: str = "train",
        level: str | None = None,
        spread: bool = False,
    ):
        problems = []
        if not 0 <= seed < 2**32:
            problems.append(f"rendered clips: `seed` is {seed}, expected 0 to {2**32 - 1}")
        if not 1 <= frames <= LENGTH:
            problems.append(f"rendered clips: `frames` is {frames}, expected 1 to {LENGTH}")
        if min(size) < SMALLEST:
            problems.append(f"rendered clips: `size` is {size}, expected at least {SMALLEST} pixels each")
        if split not in SPLITS:
            problems.append(f"rendered clips: `split` is {split!r}, expected one of {', '.join(SPLITS)}")
        if level not in (None, *LEVELS):
            problems.append(f"rendered clips: `level` is {level!r}, expected one of {', '.join(LEVELS)}, or None")
        if problems:
            raise InputError(problems)
        self.seed, self.frames, self.size = seed, frames, tuple(size)
        self.split, self.level, self.spread = split, level, spread

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([SPLITS.index(self.split), self.seed, index, self.frames])
        times = self._frame_indices(rng) / (LENGTH - 1)
        shot = film(self.split, self.seed, index, self.level, times, self.size, least=0, most=4)
        expressions = tuple((sentence.text, own) for sentence, own in shot.expressions)
        return Sample(np.stack([p.image for p in shot.pictures]), shot.ids, expressions)

    def _frame_indices(self, rng: np.random.Generator) -> np.ndarray:
        """Random frame indices in ascending order."""
        if self.spread:
            return spread_indices(LENGTH, self.frames, rng)
        step = int(rng.integers(1, min(4, (LENGTH - 1) // max(self.frames - 1, 1)) + 1))
        return int(rng.integers(LENGTH - step * (self.frames - 1))) + step * np.arange(self.frames)
