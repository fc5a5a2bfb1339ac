"""Clips of the MeViSv2 form of `shapes`: a rendered scene, and expressions of one object, several or none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rvos_ensemble.adapters.datasets.shapes.claims import Tracks
from rvos_ensemble.adapters.datasets.shapes.mevis.expressions import Facts, ReferringExpression, descriptions, draw
from rvos_ensemble.adapters.datasets.shapes.render import Picture
from rvos_ensemble.adapters.datasets.shapes.render import draw as render
from rvos_ensemble.adapters.datasets.shapes.scenes import compose
from rvos_ensemble.adapters.datasets.shapes.things import Appearance, Scene

ATTEMPTS = 400
EXPRESSIONS = 10  # of a clip, as in the test set of 2026
# Fractions of MeViSv2: 10.6 % of 33072 expressions refer to nothing, 24.3 % to several objects
SEVERAL = (2, 3, 0.7)  # expressions of a clip that list several objects: fewest, most, and probability of the most
NOTHING = (0.25, 0.5, 0.25)  # probabilities that 0, 1, 2 of its expressions refer to nothing


@dataclass(frozen=True)
class MevisShot:
    """A rendered scene with expressions.

    Attributes:
        scene: the scene.
        pictures: the rendered frames.
        expressions: in the order of the data set.
    """

    scene: Scene
    pictures: list[Picture]
    expressions: list[ReferringExpression]

    @property
    def ids(self) -> np.ndarray:
        """The visible object at each pixel, uint8 [T, H, W]."""
        return np.stack([picture.ids for picture in self.pictures])


def mevis_clip(
    split: str, seed: int, index: int, level: str | None, times: np.ndarray, size: tuple[int, int]
) -> MevisShot:
    """A clip with `EXPRESSIONS` expressions; for arguments see `shapes.clips.film`."""
    return mixed(*mevis_pair(split, seed, index, level, times, size))


def mixed(shot: MevisShot, foils: list[ReferringExpression]) -> MevisShot:
    """The clip with some of its expressions replaced by those that refer to nothing, see `mevis_pair`."""
    rng = np.random.default_rng([shot.scene.texture, 2])
    expressions = list(shot.expressions)
    for i in rng.permutation(EXPRESSIONS)[: rng.choice(len(NOTHING), p=NOTHING)]:
        expressions[i] = replace(foils[i], objects=())
    return replace(shot, expressions=expressions)


def mevis_pair(
    split: str, seed: int, index: int, level: str | None, times: np.ndarray, size: tuple[int, int]
) -> tuple[MevisShot, list[ReferringExpression]]:
    """A clip whose expressions all have targets, and as many that refer to nothing in it.

    The latter are true of another clip with objects of equal appearance, and their `objects` are those of that clip.
    Expressions at the same position of both lists refer to one object, or to several. For arguments see
    `shapes.clips.film`.
    """
    for attempt in range(0, 2 * ATTEMPTS, 2):
        scenes = [compose(split, seed, index, level, attempt + k, "mevis") for k in range(2)]
        if len(scenes[0].objects) != len(scenes[1].objects):
            continue
        rng = np.random.default_rng([scenes[0].texture, scenes[1].texture])
        scenes[1] = _painted(scenes[1], _exchanged([thing.appearance for thing in scenes[0].objects], rng))
        pictures = [list(render(scene, times, size)) for scene in scenes]
        here, there = (
            Facts.of(scene, Tracks.of(scene, times, shown)) for scene, shown in zip(scenes, pictures, strict=True)
        )
        fewest, most, chance = SEVERAL
        count = most if rng.random() < chance else fewest
        several = rng.permutation(np.arange(EXPRESSIONS) < count)
        true = draw(descriptions(here, there), several, rng)
        foils = draw(descriptions(there, here), several, rng)
        if true and foils:
            return MevisShot(scenes[0], pictures[0], true), foils
    raise RuntimeError(
        f"none of {ATTEMPTS} pairs of scenes has enough expressions: {split} {seed} {index} {level} {size}"
    )


def _exchanged(appearances: list[Appearance], rng: np.random.Generator) -> list[Appearance]:
    """The same appearances; in some cases, two colours and two patterns among them have changed places."""
    for trait in ("colour", "pattern"):
        values = sorted({getattr(appearance, trait) for appearance in appearances})
        if rng.random() < 0.5 and len(values) > 1:
            a, b = rng.permutation(values)[:2].tolist()
            other = {a: b, b: a}
            appearances = [replace(p, **{trait: other.get(v := getattr(p, trait), v)}) for p in appearances]
    return appearances


def _painted(scene: Scene, appearances: list[Appearance]) -> Scene:
    """The scene with other appearances of its objects, in their order."""
    rest = iter(appearances)
    objects = set(map(id, scene.objects))
    things = (replace(t, appearance=next(rest)) if id(t) in objects else t for t in scene.things)
    return replace(scene, things=tuple(things))
