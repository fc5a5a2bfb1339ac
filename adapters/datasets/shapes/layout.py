"""Writes `shapes` to disk in the layout of Ref-YouTube-VOS."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import write_file
from rvos_ensemble.adapters.datasets.shapes.clips import benchmark_clip
from rvos_ensemble.adapters.datasets.shapes.render import Picture

QUALITY = 95  # of the JPEG pictures
STEP = 5  # between frame numbers, as in YouTube-VOS, which annotates every fifth frame


def render(
    folder: Path, split: str, level: str | None, seed: int, clips: int, frames: int, size: tuple[int, int]
) -> None:
    """Renders all clips.

    Args:
        folder: a new one.
        split: "train", "val" or "test".
        level: "easy", "medium" or "hard"; None alternates between them.
        seed: of everything.
        clips: number of clips.
        frames: number of frames of each clip.
        size: (H, W) of the frames.
    """
    videos, objects = {}, {}
    for index in range(clips):
        numbers = frame_numbers(index, frames)
        shot = benchmark_clip(split, seed, index, level, times(numbers), size)
        name, names = shot.scene.name, [f"{number:05d}" for number in numbers]
        write_images(folder / "valid" / "JPEGImages" / name, names, shot.pictures)
        _write_annotations(folder / "valid" / "Annotations" / name, names, shot.pictures)
        expressions = shot.expressions
        videos[name] = {
            "expressions": {str(i): {"exp": sentence.text} for i, (sentence, _) in enumerate(expressions)},
            "frames": names,
        }
        objects[name] = {str(i): str(own) for i, (_, own) in enumerate(expressions)}
    meta = folder / "meta_expressions" / "valid"
    meta.mkdir(parents=True)
    write_json(meta / "meta_expressions.json", {"videos": videos})
    write_json(meta / "obj_ids.json", objects)  # the competition keeps these secret


def frame_numbers(index: int, count: int) -> np.ndarray:
    """Numbers of the frames of a clip; as in the real data, some clips start later and some have a gap.

    >>> frame_numbers(0, 4).tolist(), frame_numbers(1, 4).tolist(), frame_numbers(4, 4).tolist()
    ([0, 5, 10, 15], [15, 20, 25, 30], [0, 5, 15, 20])
    """
    numbers = STEP * np.arange(count)
    if index % 8 == 1:
        numbers += 3 * STEP
    if index % 8 == 4:
        numbers[count // 2 :] += STEP
    return numbers


def times(numbers: np.ndarray) -> np.ndarray:
    """Times of numbered frames, from 0 to 1."""
    return (numbers - numbers[0]) / (numbers[-1] - numbers[0])


def write_images(folder: Path, names: list[str], pictures: list[Picture]) -> None:
    """Writes the images of a clip as NAME.jpg into a new folder."""
    folder.mkdir(parents=True)
    for name, picture in zip(names, pictures, strict=True):
        jpeg = cv2.imencode(".jpg", picture.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        write_file(folder / f"{name}.jpg", jpeg.tobytes())


def _write_annotations(folder: Path, names: list[str], pictures: list[Picture]) -> None:
    folder.mkdir(parents=True)
    for name, picture in zip(names, pictures, strict=True):
        write_file(folder / f"{name}.png", png.encode_indices(picture.ids))


def write_json(path: Path, content) -> None:
    """Writes a JSON file with indentation."""
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())
