"""Random training clips for propagators: of videos or of static images, augmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.training.samples import augment
from rvos_ensemble.adapters.training.samples.collage import collage
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS

ENLARGED = 1.3  # height of rendered clips and collages relative to the crops; their aspect ratio is 16:9
TRIES = 4  # clips that are drawn until the first frame shows an object


class AugmentedClips(Dataset):
    """Clips of a video or of a static image with random augmentation.

    Args:
        settings: values for `task.DEFAULTS`.
        size: (H, W) of the clips.
        videos: an endless data set of clips.
        images: an endless data set of clips of one frame.
    """

    def __init__(self, settings: Mapping[str, Any], size: tuple[int, int], videos: Dataset, images: Dataset):
        self.settings, self.size, self.videos, self.images = settings, size, videos, images

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, i: int) -> Sample:
        s = self.settings
        rng = np.random.default_rng([s["seed"], i])
        static = rng.random() < s["static"]
        make = self._static if static else self._video
        for attempt in range(TRIES):
            sample = make(8 * i + 2 * attempt, rng)
            if static or rng.random() < s["merge"]:
                sample = augment.paste(sample, make(8 * i + 2 * attempt + 1, rng))
            sample = augment.relabel(sample, rng, MAX_OBJECTS, s["subset"])
            if sample.ids[0].any():
                break
        return augment.colour(sample, rng, s["colour"]) if s["colour"] else sample

    def _static(self, i: int, rng: np.random.Generator) -> Sample:
        """A clip made of a static image."""
        s = self.settings
        image = collage(enlarged(self.size[0]), rng) if rng.random() < s["collage"] else self.images[i]
        return augment.pseudo_video(image, s["frames"], self.size, rng)

    def _video(self, i: int, rng: np.random.Generator) -> Sample:
        """A cropped clip of a video, reversed with a probability of 0.5."""
        sample = augment.crop(self.videos[i], self.size, rng)
        if rng.random() < 0.5:
            sample = Sample(sample.images[::-1], sample.ids[::-1], ())
        return sample


def enlarged(height: int) -> tuple[int, int]:
    """The size (H, W) of frames from which crops of that height are taken."""
    return round(ENLARGED * height), round(ENLARGED * height * 16 / 9)
