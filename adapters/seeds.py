"""Seeds on disk: for each expression the masks of its instances, each in one frame, from which it is propagated."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.hashing import file_stamp
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import choice, number, path, whole
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.seeds.plain import PlainSeeds
from rvos_ensemble.adapters.files.seeds.sam3_agent import Sam3AgentSeeds
from rvos_ensemble.adapters.files.seeds.seed import MOST_IOU, seed_objects
from rvos_ensemble.adapters.files.storage import Folder, Storage, Zip
from rvos_ensemble.adapters.files.verdicts.answers import Answers


class Seeds(Adapter):
    """Seeds of instances on disk: a json file, or the tree of SAM3-agent.

    `propagate` with `key_frame: given` propagates each seed, and `unite` joins the instances of each expression.

    - a .json {video: {expression: [{"frame": name or index, "mask": RLE, "instance": name, "score": number}]}}, see
      `adapters/files/seeds/plain.py`; an empty list means that the expression refers to nothing;
    - a folder or .zip `VIDEO/EXPRESSION/NAME_obj_NUMBER/pred.json` of SAM3-agent, see `sam3_agent.py` beside it.

    Settings:
        path: the file or folder.
        answers: for SAM3-agent, the folder or .zip of the language model's answers, `VIDEO/EXPRESSION.json`, where []
            means that the expression refers to nothing.
        stride: for answers without `actual_frame_filename`, the distance between the frames that the model was shown;
            auto for 2 in videos of more than 70 frames, else 1.
        bad: `report` raises an error that lists all bad seeds; `drop` drops them with a note. A seed is bad if its mask
            is empty, if its frame is not in the clip, if it is missing, or if it shows the same instance as another.
        max_iou: two seeds of an expression in one frame with a higher IoU show the same instance.
    """

    stored = False
    objects = True
    defaults = {
        "path": path(),
        "answers": path(None),
        "stride": whole(None, least=1, words=("auto",)),
        "bad": choice("report", "drop"),
        "max_iou": number(MOST_IOU, least=0, most=1),
    }

    def predict(self, clip: Clip) -> Objects:
        """The seeds of the clip, in the form of `instances.py`."""
        s = self.settings
        return seed_objects(clip, self._reader().listed(clip), str(user_path(s.path)), s.max_iou, s.bad == "drop")

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Reads all seeds, which are few."""
        return list(dict.fromkeys(problem for clip in clips for problem in self.inspect(clip)))

    def inspect(self, clip: Clip) -> list[str]:
        """Reads all seeds of a clip."""
        try:
            self.predict(clip)
        except InputError as error:
            return error.problems
        return []

    def traits(self, clip: Clip) -> Traits:
        """Binary masks of objects, each with a score, a key frame and a presence."""
        return Traits("binary", scores=True, key_frame=True, objects=True, presence=True)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the files of the clip."""
        return self._reader().fingerprint(clip)

    def _reader(self) -> PlainSeeds | Sam3AgentSeeds:
        s, path = self.settings, user_path(self.settings.path)
        storage = _storage(path)
        if storage is not None:
            answers = _answers(s.answers) if s.answers else None
            return Sam3AgentSeeds(storage, answers, s.stride)
        if s.answers:
            raise InputError(f"{path}: `answers` are read beside a folder of SAM3-agent, expected no `answers`")
        return PlainSeeds(file_stamp(path))


def _answers(written: str) -> Answers:
    storage = _storage(user_path(written))
    if storage is None:
        raise InputError(f"{written}: expected a folder or .zip of answers, VIDEO/EXPRESSION.json")
    return Answers(storage)


def _storage(path: os.PathLike) -> Storage | None:
    """The folder or zip at a path; None for another file."""
    if os.path.isdir(path):
        return Folder(str(path))
    return Zip(str(path)) if str(path).endswith(".zip") else None
