"""COCO json of single frames: a ground truth with one mask per image, and predictions with any number of masks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.io.png import MAX_PIXELS
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.datasets.file_problems import FEW
from rvos_ensemble.adapters.files.readers.coco_rle import Rle, plain
from rvos_ensemble.ensemble.metrics.protocols.samples.rle_batch import empty_runs_of_all

TRUTH = '{"images": [{"id", "height", "width"}], "annotations": [{"image_id", "segmentation": RLE, "area"}]}'
RESULTS = '[{"image_id", "segmentation": RLE, "score"}], all masks of an image with their scores'

ImageId: TypeAlias = str | int


@dataclass(frozen=True)
class ImageTruth:
    """The ground truth of one image.

    Attributes:
        size: (H, W).
        rle: the mask.
        area: in pixels, as the file specifies it; it determines whether the object is small, medium or large.
        crowd: COCO's `iscrowd`, 0 or 1; AP ignores crowds.
    """

    size: tuple[int, int]
    rle: Rle
    area: float
    crowd: int


@dataclass(frozen=True)
class ScoredMask:
    """A predicted mask and its score."""

    rle: Rle
    score: float


def read_truth(path: Path, source: str) -> dict[ImageId, ImageTruth]:
    """The ground truth of a file.

    Args:
        path: COCO json.
        source: how such a file is obtained, for messages.

    Returns:
        {image: its ground truth}, in the order of the file.

    Raises:
        InputError: naming everything that is wrong with the file.
    """
    expected = f"expected COCO json {TRUTH}, one annotation per image; {source}"
    content = _read(path, expected)
    if isinstance(content, list):
        raise InputError(f"{path}: a list, as predictions are; {expected}")
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(entries, list) and entries for entries in lists):
        raise InputError(f"{path}: no COCO ground truth; {expected}")
    problems = _Problems(path)
    sizes = _sizes(lists[0], path, problems)
    truths: dict[ImageId, ImageTruth] = {}
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
            truths[image] = ImageTruth(sizes[image], rle, float(area), int(crowd))
    for image in sizes if "entries" not in problems.by_kind else ():
        if counts[image] != 1:
            problems.add(
                "images", f"{path}: image {shown(image)} has {counts[image]} annotations, expected exactly one"
            )
    problems.raise_any()
    return {image: truths[image] for image in sizes}


def read_predictions(path: Path, truths: Mapping[ImageId, ImageTruth] | None) -> dict[ImageId, list[ScoredMask]]:
    """The predictions of a file.

    Args:
        path: COCO results json.
        truths: the ground truth; None if it could not be read, so that only the form is checked.

    Returns:
        {image: its predictions in the order of the file}, for images that have any.

    Raises:
        InputError: naming everything that is wrong with the file.
    """
    expected = f"expected COCO results {RESULTS}"
    content = _read(path, expected)
    if isinstance(content, dict) and "annotations" in content:
        raise InputError(f"{path}: a COCO ground truth, not predictions; {expected}")
    if not isinstance(content, list) or not content:
        actual = "an empty list" if content == [] else type(content).__name__
        raise InputError(f"{path}: {actual}; {expected}")
    problems = _Problems(path)
    predictions: dict[ImageId, list[ScoredMask]] = {}
    sizes = {image: truth.size for image, truth in (truths or {}).items()}
    empty_runs = empty_runs_of_all(content, sizes) if truths is not None else None  # None: check one by one
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
        rle = entry["segmentation"]
        if empty_runs is not None and not empty_runs[n]:
            rle = {"size": list(sizes[image]), "counts": rle["counts"]}
        else:
            rle = _checked(rle, sizes[image], f"{where}, image {shown(image)}", problems)
        predictions.setdefault(image, []).append(ScoredMask(rle, float(score) if _is_number(score) else 0.0))
    problems.raise_any()
    return predictions


@dataclass
class _Problems:
    """Collects what is wrong with a file, by kind: an error in every entry takes a few lines, not thousands."""

    file: Path
    by_kind: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, sentence: str) -> None:
        """Adds a sentence."""
        self.by_kind.setdefault(kind, []).append(sentence)

    def complete(self, entry: Any, keys: Sequence[str], where: str) -> bool:
        """Whether an entry has these keys; if not, adds a problem."""
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            self.add("entries", f"{where}: without {', '.join(f'`{key}`' for key in missing)}: {shown(entry)}")
        return not missing

    def raise_any(self) -> None:
        """Raises an InputError if there are problems."""
        if self.by_kind:
            raise InputError(self._lines())

    def _lines(self) -> Iterator[str]:
        """The first sentences of each kind, and the number of the others."""
        for kind, sentences in self.by_kind.items():
            yield from sentences[:FEW]
            if len(sentences) > FEW:
                yield f"{self.file}: and {len(sentences) - FEW} more {kind} like this"


def _read(path: Path, expected: str) -> Any:
    """The content of a json file; `expected` completes the message of every error."""
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
            actual = f"id {shown(name)}, size {shown(size)}"
            problems.add("images", f"{where}: {actual}; expected a string or number, and (H, W)")
        elif size[0] * size[1] > MAX_PIXELS:
            problems.add("images", f"{where}: size {shown(size)}, expected at most {MAX_PIXELS:,} pixels")
        elif name in sizes:
            problems.add("repeated images", f"{where}: id {shown(name)} occurs twice")
        else:
            sizes[name] = size
    if len({type(name) for name in sizes}) > 1:
        problems.add("ids", f"{path}: some image ids are strings and some are numbers; expected one kind")
    return sizes


def _checked(rle: Any, size: tuple[int, int], where: str, problems: _Problems) -> Rle | None:
    """The mask in the form that pycocotools accepts; None if it is not an RLE of that size."""
    try:
        return plain(rle, size, where)
    except InputError as error:
        problems.add("masks", str(error))
        return None


def _is_id(value: Any) -> bool:
    """Whether a value can be an image id."""
    return type(value) in (str, int)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits
        return False
