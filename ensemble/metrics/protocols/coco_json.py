"""COCO json of single frames: a ground truth with one mask an image, and predictions with any number of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.png import MAX_PIXELS
from rvos_ensemble.adapters.datasets.file_problems import FEW
from rvos_ensemble.adapters.files.coco_rle import DIGITS, Rle, numbers, plain

TRUTH = '{"images": [{"id", "height", "width"}], "annotations": [{"image_id", "segmentation": RLE, "area"}]}'
RESULTS = '[{"image_id", "segmentation": RLE, "score"}], all masks of an image with their scores'

AT_A_TIME = 1000  # masks that `fill` looks at together

ImageId: TypeAlias = str | int


@dataclass(frozen=True)
class Truth:
    """The ground truth of one image.

    Attributes:
        size: (H, W).
        rle: its mask.
        area: in pixels, as the file says; it decides whether the object counts as small, medium or large.
        crowd: COCO's `iscrowd`, 0 or 1: AP passes over it.
    """

    size: tuple[int, int]
    rle: Rle
    area: float
    crowd: int


@dataclass(frozen=True)
class Scored:
    """A predicted mask and its score."""

    rle: Rle
    score: float


def read_truth(path: Path, source: str) -> dict[ImageId, Truth]:
    """{image: its truth}, in the order of the file.

    Args:
        path: COCO json.
        source: where such a file comes from, for messages.

    Raises:
        InputError: naming everything that is wrong with it.
    """
    expected = f"expected COCO json {TRUTH}, one annotation an image; {source}"
    content = _read(path, expected)
    if isinstance(content, list):
        raise InputError(f"{path}: a list, as predictions are; {expected}")
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(entries, list) and entries for entries in lists):
        raise InputError(f"{path}: no COCO ground truth; {expected}")
    problems = _Problems(path)
    sizes = _sizes(lists[0], path, problems)
    truths: dict[ImageId, Truth] = {}
    counts: Counter[ImageId] = Counter()
    for n, entry in enumerate(lists[1]):
        where = f"{path}: annotations[{n}]"
        if not problems.complete(entry, ("image_id", "segmentation", "area"), where):
            continue
        image, area, crowd = entry["image_id"], entry["area"], entry.get("iscrowd", 0)
        if not _is_id(image) or image not in sizes:
            problems.add("unknown images", f"{where}: image_id {shown(image)} is not among the images")
            continue
        counts[image] += 1
        where = f"{where}, image {shown(image)}"
        rle = _checked(entry["segmentation"], sizes[image], where, problems)
        if not _is_number(area) or area < 0:
            problems.add("areas", f"{where}: area is {shown(area)}, expected a number of pixels")
        elif type(crowd) not in (int, bool) or crowd not in (0, 1):
            problems.add("crowds", f"{where}: iscrowd is {shown(crowd)}, expected 0 or 1")
        elif rle is not None:
            truths[image] = Truth(sizes[image], rle, float(area), int(crowd))
    for image in sizes if "entries" not in problems.found else ():
        if counts[image] != 1:
            problems.add(
                "images", f"{path}: image {shown(image)} has {counts[image]} annotations, expected exactly one"
            )
    problems.told()
    return {image: truths[image] for image in sizes}


def read_predictions(path: Path, truths: Mapping[ImageId, Truth] | None) -> dict[ImageId, list[Scored]]:
    """{image: its predictions in the order of the file}, for images that have any.

    Args:
        path: COCO results json.
        truths: None where the ground truth could not be read; then only the form is checked.

    Raises:
        InputError: naming everything that is wrong with it.
    """
    expected = f"expected COCO results {RESULTS}"
    content = _read(path, expected)
    if isinstance(content, dict) and "annotations" in content:
        raise InputError(f"{path}: a COCO ground truth, not predictions; {expected}")
    if not isinstance(content, list) or not content:
        found = "an empty list" if content == [] else type(content).__name__
        raise InputError(f"{path}: {found}; {expected}")
    problems = _Problems(path)
    predictions: dict[ImageId, list[Scored]] = {}
    quick = _quick(content, truths) if truths is not None else None
    for n, entry in enumerate(content):
        where = f"{path}: [{n}]"
        if not problems.complete(entry, ("image_id", "segmentation", "score"), where):
            continue
        image, score = entry["image_id"], entry["score"]
        if not _is_number(score):
            problems.add("scores", f"{where}, image {shown(image)}: score is {shown(score)}, expected a finite number")
        if truths is None:
            continue
        if not _is_id(image) or image not in truths:
            problems.add("unknown images", f"{where}: image_id {shown(image)} is not in the ground truth")
            continue
        size, rle = truths[image].size, entry["segmentation"]
        if quick is not None and not quick[n]:
            rle = {"size": list(size), "counts": rle["counts"]}
        else:
            rle = _checked(rle, size, f"{where}, image {shown(image)}", problems)
        predictions.setdefault(image, []).append(Scored(rle, float(score) if _is_number(score) else 0.0))
    problems.told()
    return predictions


def _quick(content: list[Any], truths: Mapping[ImageId, Truth]) -> list[bool] | None:
    """`with_empty_runs` of a whole file, part by part."""
    found: list[bool] = []
    for n in range(0, len(content), AT_A_TIME):
        part = with_empty_runs(content[n : n + AT_A_TIME], truths)
        if part is None:
            return None
        found += part
    return found


def fill(entries: Sequence[Any], truths: Mapping[ImageId, Truth]) -> bool:
    """Whether all predictions are compressed RLE whose runs fill their image: many at once, in a tenth of the time.

    False says only that they need to be looked at one by one.
    """
    return with_empty_runs(entries, truths) is not None


def with_empty_runs(entries: Sequence[Any], truths: Mapping[ImageId, Truth]) -> list[bool] | None:
    """Which of some predictions have empty runs, that are to be joined (see `plain`); None where `fill` is false."""
    try:
        counts = [entry["segmentation"]["counts"] for entry in entries]
        told = [entry["segmentation"]["size"] for entry in entries]
        sizes = [list(truths[entry["image_id"]].size) for entry in entries]
        same = told == sizes and {*map(type, chain(*told))} == {int}
        found, starts = numbers("".join(counts))
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    if any(len(c) > DIGITS * (h * w + 1) for c, (h, w) in zip(counts, sizes, strict=True)):
        return None
    ends = np.cumsum([len(c) for c in counts])
    first = np.searchsorted(starts, ends - [len(c) for c in counts])
    if not same or not all(counts) or not np.isin(ends[:-1], starts).all():
        return None
    # Of each RLE, number 0 is a run, and numbers 1, 3, 5, ... and 2, 4, 6, ... add up to runs: as two columns of a
    # table, in which an RLE with an even number of numbers leaves its last field empty.
    each = np.diff(first, append=len(found))
    rows = each // 2
    top = np.cumsum(rows) - rows
    k = np.arange(len(found)) - np.repeat(first, each) - 1
    row, used = np.repeat(top, each) + k // 2, k >= 0
    table, there = np.zeros((2, rows.sum() + 1, 2), np.int64)
    table[row[used], k[used] % 2], there[row[used], k[used] % 2] = found[used], 1
    sums = np.cumsum(table, axis=0)
    before = np.concatenate([np.zeros((1, 2), np.int64), sums])[top]
    runs = (sums[:-1] - np.repeat(before, rows, axis=0)) * there[:-1]
    if (runs < 0).any() or (runs > MAX_PIXELS).any() or (found[first] < 0).any():
        return None
    total = np.concatenate([[0], np.cumsum(runs.sum(axis=1))])
    pixels = found[first] + total[top + rows] - total[top]
    if pixels.tolist() != [height * width for height, width in sizes]:
        return None
    empty = np.concatenate([[0], np.cumsum(((runs == 0) & (there[:-1] > 0)).sum(axis=1))])
    return (empty[top + rows] > empty[top]).tolist()


@dataclass
class _Problems:
    """What is wrong with a file, by kind: a fault that every entry has takes a few lines, not thousands."""

    file: Path
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        self.found.setdefault(kind, []).append(sentence)

    def complete(self, entry: Any, keys: Sequence[str], where: str) -> bool:
        """Whether an entry has these keys; if not, says which it lacks."""
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            self.add("entries", f"{where}: without {', '.join(f'`{key}`' for key in missing)}: {shown(entry)}")
        return not missing

    def told(self) -> None:
        """Raises InputError when there are any."""
        if self.found:
            raise InputError(self._lines())

    def _lines(self) -> Iterator[str]:
        for kind, sentences in self.found.items():
            yield from sentences[:FEW]
            if len(sentences) > FEW:
                yield f"{self.file}: and {len(sentences) - FEW} more {kind} like this"


def _read(path: Path, expected: str) -> Any:
    if path.is_dir():
        raise InputError(f"{path}: a folder; {expected}")
    try:
        return read_json(path)
    except InputError as error:
        raise InputError(f"{error}; {expected}") from error


def _sizes(images: list[Any], path: Path, problems: _Problems) -> dict[ImageId, tuple[int, int]]:
    """{image: (H, W)}, in the order of the file."""
    sizes: dict[ImageId, tuple[int, int]] = {}
    for n, image in enumerate(images):
        where = f"{path}: images[{n}]"
        if not problems.complete(image, ("id", "height", "width"), where):
            continue
        name, size = image["id"], (image["height"], image["width"])
        if not _is_id(name) or not all(type(side) is int and side > 0 for side in size):
            told = f"id {shown(name)}, size {shown(size)}"
            problems.add("images", f"{where}: {told}; expected a string or number, and (H, W)")
        elif size[0] * size[1] > MAX_PIXELS:
            problems.add("images", f"{where}: size {shown(size)}, expected at most {MAX_PIXELS:,} pixels")
        elif name in sizes:
            problems.add("repeated images", f"{where}: id {shown(name)} is there twice")
        else:
            sizes[name] = size
    if len({type(name) for name in sizes}) > 1:
        problems.add("ids", f"{path}: some ids of images are strings and some numbers; expected one kind")
    return sizes


def _checked(rle: Any, size: tuple[int, int], where: str, problems: _Problems) -> Rle | None:
    """The mask as pycocotools takes it, None where it is no RLE of that size."""
    try:
        return plain(rle, size, where)
    except InputError as error:
        problems.add("masks", str(error))
        return None


def _is_id(value: Any) -> bool:
    return type(value) in (str, int)


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits
        return False
