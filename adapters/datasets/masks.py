"""Masks alone: the videos, expressions and frames that mask files have, without pictures and without ground truth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.core.settings import names, table
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.meta import make_clips, natural, subset
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.adapters.files.formats import is_on_disk
from rvos_ensemble.adapters.files.readers.reader import Outline

WAY = "give data=NAME, whose list of expressions says what the masks are of"


class Masks(Dataset):
    """Masks alone: every video, expression and frame that masks on disk have; no pictures, no sentences, no scores.

    A mask that a source lacks, although another has it, is reported as one that is missing.

    Settings:
        of: the sources of a recipe, {name: {adapter: files, path: ..., settings}}.
        videos: restricts the data set to these videos.
    """

    defaults = {"of": table({}), "videos": names(None)}

    def clips(self) -> list[Clip]:
        """Every video, sorted by name; only headers of masks are read, and all pixels where they are ids of objects.

        Raises:
            BadClips: the size of some masks cannot be read.
            InputError: no source has masks on disk, or they do not name their videos and frames.
        """
        of = {n: s for n, s in self.settings.of.items() if isinstance(s, Mapping) and s.get("adapter") == "files"}
        of = {n: s for n, s in of.items() if is_on_disk(str(s.get("path")))}  # no step may read the others
        if not of:
            raise InputError(f"data set masks: no source reads masks from disk; {WAY}")
        sources, problems = [], []
        for name, settings in of.items():
            try:
                files = Files(**{key: value for key, value in settings.items() if key != "adapter"})
                sources.append((files, files.outlines()))
            except InputError as error:
                problems += [f"source {name}: {problem}" for problem in error.problems]
        if problems := problems or _level_problems([(files.settings.path, outlines) for files, outlines in sources]):
            raise InputError(problems)
        videos = dict.fromkeys(video for _, outlines in sources for video in outlines)

        def make(video: str, _: Any) -> Clip:
            having = [(files, outlines[video]) for files, outlines in sources if video in outlines]
            frames = {frame for _, outline in having for frame in outline.frames}
            size = next((size for files, _ in having if (size := files.size(video))), None)
            pictures = NoPictures(f"{Path(having[0][0].settings.path) / video}", known=size)
            return Clip(
                video, tuple(sorted(frames, key=natural)), _expressions(video, [o for _, o in having]), pictures
            )

        return make_clips(subset(videos, self.settings.videos, ", ".join(of)), make)


def _level_problems(sources: list[tuple[str, dict[str, Outline]]]) -> list[str]:
    """Why the paths cannot be those of models: they have no videos, or what should be videos are expressions."""
    level = "a path is the folder of all videos of a model; with predictions=FOLDER, FOLDER has a folder for each model"
    empty = [path for path, outlines in sources if not outlines]
    if empty:
        return [f"{first_few(empty, 3)}: no videos in it; {level}"]
    if all("0" in outlines and all(map(re.compile("0|[1-9][0-9]*").fullmatch, outlines)) for _, outlines in sources):
        path, outlines = sources[0]
        return [
            f"{path}: {first_few(outlines, 3)} in it are named like expressions, not videos; {level}. If they are "
            f"videos, {WAY}"
        ]
    return []


def _expressions(video: str, outlines: list[Outline]) -> tuple[Expression, ...]:
    """All expressions of a video, in natural order of their ids; their texts are unknown."""
    objects: dict[str, tuple[str, ...]] = {}
    for outline in outlines:
        objects |= outline.expressions
    named = [i for i, of in objects.items() if of]
    if named and len(named) < len(objects):
        raise InputError(
            f"video {video!r}: masks of one object in some sources, of objects {first_few(named)} in others, so that "
            f"they cannot be fused; leave some out with drop=[SOURCE], or {WAY}"
        )
    return tuple(Expression(video, i, "", objects[i]) for i in sorted(objects, key=natural))
