"""Writes the MeViSv2 form of `shapes` to disk, as its split valid_u."""

from __future__ import annotations

import json
from pathlib import Path

from rvos_ensemble.adapters.core.io.disk import write_file
from rvos_ensemble.adapters.datasets.shapes.layout import frame_numbers, times, write_images, write_json
from rvos_ensemble.adapters.datasets.shapes.mevis.clips import MevisShot, mevis_clip
from rvos_ensemble.adapters.files.readers.coco_rle import encode


def render(
    folder: Path, split: str, level: str | None, seed: int, clips: int, frames: int, size: tuple[int, int]
) -> None:
    """Renders all clips; for arguments see `shapes.layout.render`."""
    videos, masks = {}, {}
    top = folder / "valid_u"
    for index in range(clips):
        numbers = frame_numbers(index, frames)
        shot = mevis_clip(split, seed, index, level, times(numbers), size)
        name, names = shot.scene.name, [f"{number:05d}" for number in numbers]
        write_images(top / "JPEGImages" / name, names, shot.pictures)
        first = len(masks)
        videos[name] = {"vid_id": index, "expressions": _entries(shot, first), "frames": names}
        ids = shot.ids
        masks |= {str(first + k): encode(ids == k + 1) for k in range(len(shot.scene.objects))}
    write_json(top / "meta_expressions_v2.json", {"videos": videos})
    write_file(top / "mask_dict.json", (json.dumps(masks) + "\n").encode())


def _entries(shot: MevisShot, first: int) -> dict[str, dict]:
    """{id: expression} as MeViS lists them: numbers of its objects in the video, from 0, and in mask_dict.json."""
    entries = {}
    for i, expression in enumerate(shot.expressions):
        objects = [k - 1 for k in expression.objects]
        entries[str(i)] = {"exp": expression.text, "obj_id": objects, "anno_id": [first + k for k in objects]}
    return entries
