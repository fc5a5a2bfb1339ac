"""Clips of `shapes`: a rendered scene and its sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.claims import Tracks
from rvos_ensemble.adapters.datasets.shapes.render import Picture, draw
from rvos_ensemble.adapters.datasets.shapes.scenes import ODD, compose
from rvos_ensemble.adapters.datasets.shapes.sentences import Sentence, describe
from rvos_ensemble.adapters.datasets.shapes.things import Scene

ATTEMPTS = 200


@dataclass(frozen=True)
class Shot:
    """A rendered scene.

    Attributes:
        scene: the scene.
        pictures: the rendered frames.
        sentences: for each object.
    """

    scene: Scene
    pictures: list[Picture]
    sentences: list[list[Sentence]]

    @property
    def expressions(self) -> list[tuple[Sentence, int]]:
        """Every sentence with the object it refers to, in the order of the objects."""
        return [(sentence, k) for k, own in enumerate(self.sentences, 1) for sentence in own]

    @property
    def ids(self) -> np.ndarray:
        """The visible object at each pixel, uint8 [T, H, W]."""
        return np.stack([picture.ids for picture in self.pictures])


def film(
    split: str,
    seed: int,
    index: int,
    level: str | None,
    times: np.ndarray,
    size: tuple[int, int],
    least: int,
    most: int,
) -> Shot:
    """Renders the first scene at this position of the data set that has enough sentences.

    Args:
        split: "train", "val" or "test".
        seed: of the data set.
        index: of the clip.
        level: "easy", "medium" or "hard"; None alternates between them.
        times: of the frames, 0 to 1, float [T].
        size: (H, W).
        least: fewest sentences per object; 0 requires one sentence in total.
        most: most sentences per object.
    """
    for attempt in range(ATTEMPTS):
        scene = compose(split, seed, index, level, attempt)
        pictures = list(draw(scene, times, size))
        rng = np.random.default_rng([scene.texture, 1])
        sentences = describe(scene, Tracks.of(scene, times, pictures), rng, most)
        if min(map(len, sentences)) >= least and any(sentences):
            return Shot(scene, pictures, sentences)
    raise RuntimeError(
        f"{least} sentences per object fit none of {ATTEMPTS} scenes: {split} {seed} {index} {level} {size}"
    )


def benchmark_clip(
    split: str, seed: int, index: int, level: str | None, times: np.ndarray, size: tuple[int, int]
) -> Shot:
    """A clip with two sentences per object; in every eighth clip, one object has only one. For arguments see `film`."""
    shot = film(split, seed, index, level, times, size, least=2, most=2)
    if index % 8 == ODD:
        shot.sentences[shot.scene.texture % len(shot.sentences)].pop()
    return shot
