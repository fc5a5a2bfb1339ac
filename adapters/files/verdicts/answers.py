"""Answers of a multimodal language model, one json file per expression: `ROOT/VIDEO/EXPRESSION.json`.

They tell which instances the adapter `seeds` expects, and a folder of them is read as the verdicts of a juror.

A file holds one of

- the instances that the expression refers to, [] for none:
  [{"object_name": "left dog", "best_frame": 3, "discriminative_description": "the brown dog at the left edge"}];
- the same list as `results` of an object, as the MeViSv2 winner of 2026 writes it, with `video_id` and `expression_id`,
  and with `actual_frame_filename`, the file name of the chosen frame, in each instance;
- a verdict, {"is_match": true or false, "reason": text}.

One such json inside a single ```json fence is also read, if there is nothing else around it. Any other text around json
is refused: which part of a text is the answer would be a guess.

Source: stage1/run_ark_video_qa.py and stage3/review_keyword_prompt_behavior.py of Moujuruo/MeViSv2_Track_Solution_2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.files.storage import Storage
from rvos_ensemble.adapters.files.video_folders import find_parent

MOST_BYTES = 1 << 26  # of an answer
FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)\r?\n[ \t]*```", re.DOTALL | re.IGNORECASE)
EXPECTED = (
    'expected json: [{"object_name": text, "best_frame": number, "discriminative_description": text}], [] if the '
    'expression refers to nothing, or {"is_match": true or false, "reason": text}'
)


@dataclass(frozen=True)
class Instance:
    """An object that an answer names.

    Attributes:
        name: `object_name`.
        shown_frame: `best_frame`, the index among the pictures that the model was shown; None if not stated.
        file_name: `actual_frame_filename`; None if not stated.
    """

    name: str
    shown_frame: int | None
    file_name: str | None


@dataclass(frozen=True)
class Answer:
    """An answer about one expression.

    Attributes:
        present: whether the expression refers to anything.
        instances: the objects it refers to; None for a verdict, which names none.
    """

    present: bool
    instances: tuple[Instance, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """A folder or zip of answers."""

    storage: Storage

    def of(self, clip: Clip) -> dict[str, Answer]:
        """{expression id: its answer} of the expressions of the clip that have one.

        Raises:
            InputError: no answers of the video, or files that are no answers, all of them together.
        """
        answers, problems = {}, []
        for expression, name in self.names(clip).items():
            try:
                answers[expression] = self.read(name, clip.name, expression)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return answers

    def fingerprint(self, clip: Clip) -> str:
        """A hash that changes whenever an answer of the clip does."""
        return self.storage.fingerprint(self.names(clip).values())

    def names(self, clip: Clip) -> dict[str, str]:
        """{expression id: file} of the expressions of the clip that have an answer.

        Raises:
            InputError: no answers of the video.
        """
        files = self.files(clip.name)
        if not files:
            raise InputError(f"{self.storage.root}: no answers of video {clip.name!r}: no {clip.name}/EXPRESSION.json")
        return {e.id: files[e.id] for e in clip.expressions if e.id in files}

    def files(self, video: str) -> dict[str, str]:
        """{expression: file} of all answers of a video; none if the video is not there."""
        parent = find_parent(self.storage, [video])
        if parent is None:
            return {}
        files = self.storage.entries(f"{parent}{video}")[1]
        return {f.removesuffix(".json"): f"{parent}{video}/{f}" for f in files if f.endswith(".json")}

    def read(self, file: str, video: str, expression: str) -> Answer:
        """The answer in one of the files.

        Raises:
            InputError: it is no answer, or that of another expression.
        """
        return parse_answer(self.storage.read(file, most=MOST_BYTES), self.storage.where(file), video, expression)


def parse_answer(data: bytes, where: str, video: str = "", expression: str = "") -> Answer:
    """The answer in the bytes of a file.

    Args:
        data: the bytes.
        where: the name of the file, for messages.
        video, expression: whose answer it should be; "" for any.

    Raises:
        InputError: no such json, or that of another expression.
    """
    content = _json(data, where)
    if isinstance(content, dict):
        stated = {"video_id": video, "expression_id": expression, "json_id": expression}
        problems = [
            f"{where}: its `{key}` is {shown(content[key])}, expected {wanted!r}, the name of its folder or file"
            for key, wanted in stated.items()
            if wanted and key in content and str(content[key]) != wanted
        ]
        if problems:
            raise InputError(problems)
        if type(content.get("is_match")) is bool:
            return Answer(content["is_match"])
        content = content.get("results", content)
    if not isinstance(content, list):
        raise InputError(f"{where}: {shown(content)}, {EXPECTED}")
    instances = tuple(_instances(content, where))
    return Answer(bool(instances), instances)


def _json(data: bytes, where: str) -> Any:
    """The json of a file, which may be inside one fence."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return parse_json(data, where)  # which reports the place
    fenced = FENCE.fullmatch(text.strip())
    if fenced and "```" not in fenced[1]:
        return parse_json(fenced[1], where, "no json inside the fence")
    if not text.lstrip().startswith(("{", "[")):
        found = f"text instead of json: {shown(text.strip())}" if text.strip() else "an empty file"
        raise InputError(f"{where}: {found}; nothing may stand around the json; {EXPECTED}")
    return parse_json(text, where)


def _instances(items: list, where: str) -> Iterable[Instance]:
    """The objects of a list, all checked.

    Raises:
        InputError: naming all entries that are no objects.
    """
    problems, instances = [], []
    for number, item in enumerate(items):
        at = f"{where}: instance {number}"
        if not isinstance(item, dict) or not isinstance(item.get("object_name"), str):
            problems.append(f"{at} is {shown(item)}, {EXPECTED}")
            continue
        frame, file_name = item.get("best_frame"), item.get("actual_frame_filename")
        if frame is not None and (type(frame) is not int or frame < 0):
            problems.append(f"{at}: `best_frame` is {shown(frame)}, expected a whole number of at least 0")
        if file_name is not None and not isinstance(file_name, str):
            problems.append(f"{at}: `actual_frame_filename` is {shown(file_name)}, expected the name of a file")
        instances.append(Instance(item["object_name"] or f"object_{number + 1}", frame, file_name))
    if problems:
        raise InputError(problems)
    return instances
