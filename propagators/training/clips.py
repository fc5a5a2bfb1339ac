"""Random training clips for propagators: of videos or of static images, augmented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from rvos_ensemble.adapters.training.samples import augment, footage
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
        rendered: an endless data set of clips of `shapes`, for the share `shapes` of video clips.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        size: tuple[int, int],
        videos: Dataset,
        images: Dataset,
        rendered: Dataset | None = None,
    ):
        self.settings, self.size, self.videos, self.images, self.rendered = settings, size, videos, images, rendered

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
                sample = augment.paste(sample, self._above(8 * i + 2 * attempt + 1, static, rng))
            if _chance(s["twins"], rng):
                sample = footage.twin(sample, rng)
            sample = augment.relabel(sample, rng, MAX_OBJECTS, s["subset"])
            if sample.ids[0].any():
                break
        sample = augment.colour(sample, rng, s["colour"]) if s["colour"] else sample
        for change, share in ((footage.light, "light"), (footage.blur, "blur"), (footage.compress, "compression")):
            if _chance(s[share], rng):
                sample = change(sample, rng)
        return sample

    def _above(self, i: int, static: bool, rng: np.random.Generator) -> Sample:
        """A clip whose objects are pasted in front of another; in front of a video, a picture or another video."""
        s = self.settings
        if static or (s["pictures"] and rng.random() < 0.5):
            return self._static(i, rng, s["widest"])
        return self._video(i, rng)

    def _static(self, i: int, rng: np.random.Generator, widest: float = 1.0) -> Sample:
        """A clip made of a static image."""
        s = self.settings
        image = collage(enlarged(self.size[0]), rng) if rng.random() < s["collage"] else self.images[i]
        return augment.pseudo_video(image, s["frames"], self.size, rng, widest)

    def _video(self, i: int, rng: np.random.Generator) -> Sample:
        """A cropped clip of a video, reversed with a probability of 0.5."""
        videos = self.rendered if _chance(self.settings["shapes"], rng) else self.videos
        sample = augment.crop(videos[i], self.size, rng, self.settings["window"])
        if rng.random() < 0.5:
            sample = Sample(sample.images[::-1], sample.ids[::-1], ())
        return sample


def _chance(share: float, rng: np.random.Generator) -> bool:
    """Whether a random event of that probability happens; nothing is drawn for an impossible one."""
    return share > 0 and rng.random() < share


def enlarged(height: int) -> tuple[int, int]:
    """The size (H, W) of frames from which crops of that height are taken."""
    return round(ENLARGED * height), round(ENLARGED * height * 16 / 9)
