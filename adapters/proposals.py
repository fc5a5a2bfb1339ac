"""Object proposals of an instance segmenter, on disk: the objects of a clip, whatever the expressions refer to."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import file_stamp
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import path
from rvos_ensemble.adapters.files.proposals import JsonProposals, PaletteProposals
from rvos_ensemble.adapters.files.storage import Folder, Zip


class Proposals(Adapter):
    """Object proposals on disk: palette PNG, COCO results json, RLE json with scores.

    Frames may have no proposals or no file: usually a few frames per video are segmented. The same number in two frames
    means the same object only if the segmenter tracks objects; nothing here relies on it.

    - a folder or .zip of palette PNGs, `[Annotations/]VIDEO/FRAME.png`, where 1..254 are proposals, all of score 1;
    - COCO results, a .json list of {"image_id", "segmentation": RLE, "score"};
    - a .json {video: {frame: [{"size": [H, W], "counts": string, "score": number}]}}.

    Settings:
        path: the file or folder.
        images: for COCO results, the data set's json with `images`: [{"id", "file_name": ".../VIDEO/FRAME.jpg"}];
            without it, image ids are "VIDEO/FRAME".
    """

    stored = False
    objects = True
    defaults = {"path": path(), "images": path(None)}

    def predict(self, clip: Clip) -> Objects:
        """The proposals of the clip, lazily."""
        return Objects(self._reader().objects(clip))

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Checks all sizes, scores and run lengths; no mask is decoded."""
        problems = []
        for clip in clips:
            try:
                problems += self._reader().problems(clip)
            except InputError as error:
                problems += error.problems
        return list(dict.fromkeys(problems))

    def inspect(self, clip: Clip) -> list[str]:
        """Decodes every PNG; `check` has already checked all run lengths."""
        try:
            reader = self._reader()
            return list(dict.fromkeys(reader.problems(clip) or reader.decoding_problems(clip)))
        except InputError as error:
            return error.problems

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the proposals."""
        return self._reader().fingerprint(clip)

    def _reader(self) -> PaletteProposals | JsonProposals:
        path = user_path(self.settings.path)
        if os.path.isdir(path):
            return PaletteProposals(Folder(str(path)))
        if path.suffix == ".zip":
            return PaletteProposals(Zip(str(path)))
        if path.suffix != ".json":
            raise InputError(f"{path}: no proposals; expected a folder or .zip of palette PNGs, or a .json file")
        images = file_stamp(user_path(self.settings.images)) if self.settings.images else None
        return JsonProposals(file_stamp(path), images)
