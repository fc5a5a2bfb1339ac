"""Ref-DAVIS17, from the official texts or converted to the layout of Ref-YouTube-VOS."""

from __future__ import annotations

from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, names_in, read_file, user_path
from rvos_ensemble.adapters.core.settings import names, path, text
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import make_clips, subset
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth
from rvos_ensemble.adapters.datasets.ref_youtube_vos import RefYoutubeVOS

ANNOTATORS = ("Davis17_annot1", "Davis17_annot1_full_video", "Davis17_annot2", "Davis17_annot2_full_video")
MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}  # in the texts
ANNOTATIONS = ("Annotations_unsupervised", "Annotations")


class RefDavis17(Dataset):
    """Ref-DAVIS17: four expressions per object, numbered 4 * object + annotator.

    Settings:
        root: contains either `meta_expressions/SPLIT/meta_expressions.json` (converted, see ref_youtube_vos), or
            `davis_text_annotations/*.txt` and DAVIS 2017 at 480p, directly or in a folder `DAVIS`.
        split: valid or train; DAVIS calls the first `val`.
        annotations: folder of DAVIS with the ground truth, for the official layout only. Default:
            `Annotations_unsupervised`, with which published results are scored, else `Annotations`.
        videos: restricts the data set to these videos.
    """

    defaults = {
        "root": path(),
        "split": text("valid"),
        "annotations": path(None),
        "videos": names(None),
    }

    def clips(self) -> list[Clip]:
        """Every clip of the split, sorted by name; no frame is decoded.

        Raises:
            BadClips: some clips have no frames, or their four texts describe different objects.
            InputError: naming every list and text file that is missing or malformed.
        """
        settings, root = self.settings, user_path(self.settings.root)
        if exists(root / "meta_expressions"):
            return RefYoutubeVOS(root=str(root), split=settings.split, videos=settings.videos).clips()
        davis = root / "DAVIS" if exists(root / "DAVIS") else root
        listing = davis / "ImageSets" / "2017" / f"{'val' if settings.split == 'valid' else settings.split}.txt"
        names = read_file(listing).decode("ascii", "replace").split()
        texts = _read_texts(root / "davis_text_annotations")
        folders = [settings.annotations] if settings.annotations else ANNOTATIONS
        truths = [davis / folder / "480p" for folder in folders if exists(davis / folder / "480p")]
        if settings.annotations and not truths:
            raise InputError(f"{davis / settings.annotations / '480p'}: no such folder, given as `annotations`")

        def make(name: str, _) -> Clip:
            expressions = _expressions(name, texts)
            folder = davis / "JPEGImages" / "480p" / name
            frames = tuple(file.removesuffix(".jpg") for file in names_in(folder) if file.endswith(".jpg"))
            if not frames:
                raise InputError(f"{folder}: no frames *.jpg, expected those of a video of {listing}")
            images = ImageFiles(tuple(folder / f"{frame}.jpg" for frame in frames))
            truth = None
            if truths:
                paths = tuple(truths[0] / name / f"{frame}.png" for frame in frames)
                truth = PaletteTruth(paths, {e.id: e.objects for e in expressions}, images)
            return Clip(name, frames, expressions, images, truth)

        return make_clips(subset(dict.fromkeys(names), settings.videos, listing), make)


def _read_texts(folder: Path) -> list[dict[str, list[tuple[str, str]]]]:
    """For each annotator {video: [(object, text)]}, sorted by object id as a string, as the official numbering is."""
    texts, problems = [], []
    for annotator in ANNOTATORS:
        path, videos = folder / f"{annotator}.txt", {}
        try:
            lines = _decode(read_file(path)).split("\n")
        except InputError as error:
            problems += error.problems
            continue
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            if len(words) < 3 or not words[1].isdecimal():
                problems.append(f'{path}, line {number}: {line.strip()!r}, expected: video object "expression"')
                continue
            video, text = MISSPELT.get(words[0], words[0]), " ".join(words[2:]).strip('"')
            videos.setdefault(video, []).append((words[1], text))
        texts.append({video: sorted(pairs, key=lambda pair: pair[0]) for video, pairs in videos.items()})
    if problems:
        raise InputError(problems)
    return texts


def _expressions(video: str, texts: list[dict[str, list[tuple[str, str]]]]) -> tuple[Expression, ...]:
    objects = [[i for i, _ in annotator.get(video, [])] for annotator in texts]
    if not objects[0] or any(ids != objects[0] for ids in objects):
        ids_of = "; ".join(f"{name}: {ids or 'none'}" for name, ids in zip(ANNOTATORS, objects, strict=True))
        raise InputError(f"video {video!r}: the four texts should describe the same objects, they have {ids_of}")
    return tuple(
        Expression(video, str(len(texts) * n + k), annotator[video][n][1], (i,))
        for n, i in enumerate(objects[0])
        for k, annotator in enumerate(texts)
    )


def _decode(data: bytes) -> str:
    """The first annotator's texts are UTF-8, the second's Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
