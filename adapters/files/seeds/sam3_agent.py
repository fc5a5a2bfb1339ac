"""Seeds that SAM3-agent wrote for the MeViSv2 winner of 2026, `ROOT/VIDEO/EXPRESSION/NAME_obj_NUMBER/pred.json`.

A pred.json holds `orig_img_h`, `orig_img_w` and `pred_masks`, a list of the counts of compressed COCO RLEs whose union
is the seed; the mean of `pred_scores`, if it has them, is its score. The frame is the first that is stated of

- `source_result_item.actual_frame_filename` in the pred.json,
- `frame_filename` in the input_meta.json beside it,
- `actual_frame_filename` of instance NUMBER in the answers of the language model,
- `best_frame` of that instance: the index among the pictures that the model was shown, every `stride`-th frame.

The answers tell which expressions refer to nothing (`[]`), and which seeds are missing.

Source: stage2/generate_sam3_masks_from_agent.py and stage3/scan_agent_badcases.py of
Moujuruo/MeViSv2_Track_Solution_2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.readers.coco_rle import decode
from rvos_ensemble.adapters.files.seeds.plain import frame_index, outside
from rvos_ensemble.adapters.files.seeds.seed import NOTHING, Listing, Seed
from rvos_ensemble.adapters.files.storage import Storage
from rvos_ensemble.adapters.files.verdicts.answers import Answer, Answers, Instance
from rvos_ensemble.adapters.files.video_folders import find_parent

MOST_BYTES = 1 << 28  # of a pred.json
MANY_FRAMES = 70  # a video with more frames is shown with every second one: AUTO_DOWNSAMPLE_THRESHOLD and _STRIDE
NUMBER = re.compile(r"_obj_([0-9]+)$")
EXPECTED = '{"orig_img_h": H, "orig_img_w": W, "pred_masks": [counts of an RLE, ...]}'


@dataclass(frozen=True)
class Sam3AgentSeeds:
    """Reads seeds from a folder or zip of pred.json files.

    Attributes:
        storage: the folder or zip.
        answers: the answers of the language model; None if there are none.
        stride: distance between the frames that the model was shown, in frames; "auto" for the rule of
            run_ark_video_qa.py, 2 in videos of more than 70 frames, else 1; None if it is not known.
    """

    storage: Storage
    answers: Answers | None = None
    stride: int | str | None = None

    def listed(self, clip: Clip) -> dict[str, Listing]:
        """{expression id: its seeds} of the expressions of the clip.

        Raises:
            InputError: expressions without seeds and answers, and files that cannot be read, all of them together.
        """
        listed, problems = {}, []
        answers = self.answers.of(clip) if self.answers else {}
        at = self._video(clip)
        for e in clip.expressions:
            try:
                listed[e.id] = self._listing(clip, e, at, answers.get(e.id))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return listed

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes whenever a file of the clip does."""
        at = self._video(clip)
        names = [
            f"{at}/{e.id}/{folder}/{file}"
            for e in clip.expressions
            for folder in self._folders(at, e)
            for file in self.storage.entries(f"{at}/{e.id}/{folder}")[1]
            if file in ("pred.json", "input_meta.json")
        ]
        return " ".join([self.storage.fingerprint(names), *([self.answers.fingerprint(clip)] if self.answers else [])])

    def _video(self, clip: Clip) -> str:
        """The folder of the clip's seeds.

        Raises:
            InputError: the folder has no seeds of the clip; it says what it has instead.
        """
        parent = find_parent(self.storage, [clip.name])
        if parent is not None:
            return f"{parent}{clip.name}"
        if self.answers:  # all expressions of the video may refer to nothing
            return clip.name
        raise InputError(
            f"{self.storage.root}: no seeds of video {clip.name!r}: no {clip.name}/EXPRESSION/NAME_obj_1/pred.json"
        )

    def _folders(self, at: str, e: Expression) -> list[str]:
        """Names of the folders of an expression's seeds, by their numbers."""
        folders = [f for f in self.storage.entries(f"{at}/{e.id}")[0] if NUMBER.search(f)]
        return sorted(folders, key=lambda f: (int(NUMBER.search(f)[1]), f))

    def _listing(self, clip: Clip, e: Expression, at: str, answer: Answer | None) -> Listing:
        """The seeds of one expression."""
        where = f"{self.storage.root}: video {clip.name!r}, expression {e.id!r}"
        if self.answers and answer is None:
            raise InputError(f"{where}: {self.answers.storage.root} has no answer {clip.name}/{e.id}.json")
        if answer and answer.instances is None:
            raise InputError(f"{where}: its answer is a verdict, expected a list of instances")
        if answer and not answer.instances:
            return NOTHING
        folders = self._folders(at, e)
        if not folders and not answer:
            raise InputError(f"{where}: {self._what_else(at, e)}")
        numbered, bad = _numbered(folders, answer.instances if answer else None)
        seeds, problems = [], []
        for folder, instance in numbered.items():
            try:
                seed = self._seed(clip, f"{at}/{e.id}/{folder}", folder, instance)
            except InputError as error:
                problems += error.problems
                continue
            (bad if isinstance(seed, str) else seeds).append(seed)
        if problems:
            raise InputError(problems)
        return Listing(seeds, bad, presence=1.0)

    def _seed(self, clip: Clip, at: str, folder: str, instance: Instance | None) -> Seed | str:
        """One seed, or why it is bad, which is not an error of the file."""
        files = self.storage.entries(at)[1]
        if "pred.json" not in files:
            return f"{at}/pred.json does not exist"
        where = self.storage.where(f"{at}/pred.json")
        content = self._json(f"{at}/pred.json")
        mask, score = _mask_and_score(content, tuple(clip.size), where)
        frame = _text_in(content.get("source_result_item"), "actual_frame_filename")
        if frame is None and "input_meta.json" in files:
            frame = _text_in(self._json(f"{at}/input_meta.json"), "frame_filename")
        if frame is None and instance:
            frame = instance.file_name or self._shown_frame(instance, clip, where)
        if frame is None:
            raise InputError(
                f"{where}: neither it nor an input_meta.json beside it names its frame (actual_frame_filename); set "
                "`answers` to the folder of the language model's answers"
            )
        t = frame_index(frame, clip)
        return outside(folder, frame, clip) if t is None else Seed(folder, t, mask, score)

    def _shown_frame(self, instance: Instance, clip: Clip, where: str) -> int | None:
        """The frame of the picture that an answer chose; it may be outside the clip."""
        if instance.shown_frame is None:
            return None
        if self.stride is None:
            raise InputError(
                f"{where}: the answer names its frame only as best_frame {instance.shown_frame}, the index of a "
                "picture that the model was shown; set `stride` to the distance between these pictures in frames, or "
                f"to auto: 2 in videos of more than {MANY_FRAMES} frames, else 1, as the MeViSv2 winner of 2026"
            )
        stride = self.stride if self.stride != "auto" else 2 if len(clip) > MANY_FRAMES else 1
        return instance.shown_frame * stride

    def _json(self, name: str) -> dict[str, Any]:
        where = self.storage.where(name)
        content = parse_json(self.storage.read(name, most=MOST_BYTES), where)
        if not isinstance(content, dict):
            raise InputError(f"{where}: {shown(content)}, expected {EXPECTED}")
        return content

    def _what_else(self, at: str, e: Expression) -> str:
        """Why an expression has no seeds, by what its folder holds instead."""
        files = self.storage.entries(at)[1]
        if f"{e.id}.json" in files:
            return "a folder of answers, not of seeds: set it as `answers`, and `path` to the folder of SAM3-agent"
        inside = self.storage.entries(f"{at}/{e.id}")[1]
        if any(file.endswith(".png") for file in inside):
            return "PNG masks, not seeds; the adapter `files` reads them, and the step `seeds` makes seeds of them"
        return (
            f"no {at}/{e.id}/NAME_obj_1/pred.json; set `answers` to the folder of the language model's answers, where "
            "an expression that refers to nothing has the answer []"
        )


def _numbered(
    folders: list[str], instances: tuple[Instance, ...] | None
) -> tuple[dict[str, Instance | None], list[str]]:
    """The folder of each instance of an answer, and which are missing or too many.

    Args:
        folders: names of folders.
        instances: those of the answer; None without an answer, when every folder counts.

    Returns:
        ({folder: its instance}, sentences).
    """
    if instances is None:
        return dict.fromkeys(folders), []
    numbered, bad = {}, []
    for number, instance in enumerate(instances, 1):
        own = [f for f in folders if int(NUMBER.search(f)[1]) == number]
        exact = f"{_safe_name(instance.name)}_obj_{number}"
        own = [exact] if exact in own else own
        if len(own) == 1:
            numbered[own[0]] = instance
        else:
            bad.append(f"instance {number} of the answer, {instance.name!r}, has {len(own)} folders, expected {exact}")
    return numbered, bad


def _safe_name(text: str) -> str:
    r"""The name of an object as a part of a file name; `safe_name` of run_sam3_agent_from_batch_result.py.

    >>> _safe_name("left dog (big)."), _safe_name(" ")
    ('left_dog_big', 'item')
    """
    return re.sub(r"[^\w\-\.]+", "_", text.strip()).strip("._") or "item"


def _mask_and_score(content: dict[str, Any], size: tuple[int, int], where: str) -> tuple[np.ndarray, float]:
    """The union of the masks of a pred.json, bool [H, W], and the mean of their scores."""
    masks, scores = content.get("pred_masks"), content.get("pred_scores")
    stated = [content.get("orig_img_h"), content.get("orig_img_w")]
    if not isinstance(masks, list) or not all(isinstance(counts, str) for counts in masks):
        raise InputError(f"{where}: `pred_masks` is {shown(masks)}, expected {EXPECTED}")
    if scores is not None and (
        not isinstance(scores, list)
        or len(scores) != len(masks)
        or not all(type(score) in (int, float) and 0 <= score <= 1 for score in scores)
    ):
        raise InputError(f"{where}: `pred_scores` is {shown(scores)}, expected {len(masks)} numbers in 0..1")
    if stated != list(size):
        raise InputError(f"{where}: an image of {shown(stated)}, expected the clip's {list(size)} ([H, W])")
    union = np.zeros(size, bool)
    for number, counts in enumerate(masks):
        if counts:  # scan_agent_badcases.py passes over empty counts
            union |= decode({"size": stated, "counts": counts}, size, f"{where}: mask {number}")
    return union, float(np.mean(scores)) if scores else 1.0


def _text_in(content: Any, key: str) -> str | None:
    """The text under a key of an object; None if it has none."""
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, str) and value else None
