"""Clips of `shapes`: a scene, drawn, and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.render import Picture, draw
from rvos_ensemble.adapters.datasets.shapes.scenes import ODD, compose
from rvos_ensemble.adapters.datasets.shapes.sentences import Sentence, Tracks, describe
from rvos_ensemble.adapters.datasets.shapes.things import Scene

ATTEMPTS = 200


@dataclass(frozen=True)
class Shot:
    """A drawn scene.

    Attributes:
        scene: what happens.
        pictures: of the frames.
        sentences: of each object.
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
        """The object seen at each pixel, uint8 [T, H, W]."""
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
    """Draws the first scene in this place of the data set of which enough can be said.

    Args:
        split: "train", "val" or "test".
        seed: of the data set.
        index: of the clip.
        level: "easy", "medium" or "hard"; None takes them in turn.
        times: of the frames, 0 to 1, float [T].
        size: (H, W).
        least: sentences of every object; 0 asks for one sentence in all.
        most: sentences of every object.
    """
    for attempt in range(ATTEMPTS):
        scene = compose(split, seed, index, level, attempt)
        pictures = list(draw(scene, times, size))
        rng = np.random.default_rng([scene.texture, 1])
        sentences = describe(scene, Tracks.of(scene, times, pictures), rng, most)
        if min(map(len, sentences)) >= least and any(sentences):
            return Shot(scene, pictures, sentences)
    raise RuntimeError(
        f"{least} sentences an object fit none of {ATTEMPTS} scenes: {split} {seed} {index} {level} {size}"
    )


def benchmark_clip(
    split: str, seed: int, index: int, level: str | None, times: np.ndarray, size: tuple[int, int]
) -> Shot:
    """A clip with two sentences an object; of every eighth clip one object has only one. Arguments as of `film`."""
    shot = film(split, seed, index, level, times, size, least=2, most=2)
    if index % 8 == ODD:
        shot.sentences[shot.scene.texture % len(shot.sentences)].pop()
    return shot
