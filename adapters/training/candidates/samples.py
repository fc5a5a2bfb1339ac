"""Random training frames with objects: video as it is, rendered clips, and collages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.training.candidates import cutouts
from rvos_ensemble.adapters.training.samples import augment, footage
from rvos_ensemble.adapters.training.samples.sample import Sample

DRAWS = 16  # samples of the sources that one training frame may use


class CandidateFrames(Dataset):
    """Frames with numbered objects: sample i depends on the settings and on i alone.

    Args:
        settings: values for `task.DEFAULTS`.
        videos: an endless data set of samples of one frame.
        pictures: another one.
        rendered: one of `shapes`, for the share `shapes` of the frames.
    """

    def __init__(
        self, settings: Mapping[str, Any], videos: Dataset, pictures: Dataset, rendered: Dataset | None = None
    ):
        self.settings, self.videos, self.pictures, self.rendered = settings, videos, pictures, rendered

    def __len__(self) -> int:
        return len(self.videos) // DRAWS

    def __getitem__(self, i: int) -> Sample:
        s = self.settings
        rng = np.random.default_rng([s["seed"], i, 1])
        size, first = tuple(s["size"]), DRAWS * i
        if self.rendered is not None and rng.random() < s["shapes"]:
            sample = augment.crop(self.rendered[first], size, rng, s["window"])
        else:
            source = self.pictures if rng.random() < s["backgrounds"] else self.videos
            sample = augment.crop(source[first], size, rng, s["window"])
            if rng.random() >= s["plain"]:
                sample = self._collage(sample, first + 1, rng)
        sample = augment.colour(sample, rng, s["colour"]) if s["colour"] else sample
        for change, share in ((footage.light, "light"), (footage.blur, "blur"), (footage.compress, "compression")):
            if rng.random() < s[share]:
                sample = change(sample, rng)
        return sample

    def _collage(self, sample: Sample, first: int, rng: np.random.Generator) -> Sample:
        """The sample with objects, and with pieces of background that are no objects, pasted over it."""
        pasted, objects = [], []
        for j in range(int(rng.integers(1, self.settings["pasted"] + 1))):
            source = self.pictures if rng.random() < 0.5 else self.videos
            other = source[first + j]
            if rng.random() < self.settings["distractors"]:
                found, counts = cutouts.patch(other, rng), False
            else:
                known = cutouts.cutouts(other)
                found, counts = (known[rng.integers(len(known))] if known else None), True
            if found is not None:
                pasted.append(found)
                objects.append(counts)
        return cutouts.paste(sample, pasted, objects, rng)
