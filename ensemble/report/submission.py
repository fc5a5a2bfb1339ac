"""The zip file for the challenge server: streamed, and checked against the list of the data set before it is renamed.

Layouts: Ref-YouTube-VOS `Annotations/VIDEO/EXPRESSION/FRAME.png`, MeViS the same without the top folder. A mask is a
single-channel 8-bit PNG with values 0 and 255, of the size of the clip; "the expression refers to nothing" is answered
by a black mask for every frame. Challenges since LSVOS 2025 require team.json beside the folders. For an invalid zip,
servers report NaN scores without a reason.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.files.storage import read_member, zip_file, zip_members
from rvos_ensemble.ensemble.recipe.team import EXAMPLE, FILE, team_json, team_problems

EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for all members, so that equal masks give equal bytes
SHOWN = 20  # problems listed before "and N more"


@dataclass(frozen=True)
class Plan:
    """What a submission must contain.

    Attributes:
        videos: number of videos.
        expressions: number of expressions.
        masks: number of PNG files.
    """

    videos: int
    expressions: int
    masks: int


def plan(clips: Sequence[Clip]) -> Plan:
    """Counts what the data set requires, without reading an image.

    Ref-YouTube-VOS: valid 202 videos, 834 expressions, 22 046 masks; test 305, 1262, 32 724.
    """
    return Plan(
        len(clips),
        sum(len(c.expressions) for c in clips),
        sum(len(c.expressions) * len(c) for c in clips),
    )


def members(clip: Clip, root: str) -> list[str]:
    """Names of the files of the clip inside the zip, in order."""
    return [f"{root}{clip.name}/{e.id}/{frame}.png" for e in clip.expressions for frame in clip.frames]


def write(
    path: Path,
    clips: Sequence[Clip],
    root: str,
    pictures: Iterable[Iterator[bytes]],
    team: Mapping[str, Any] | None = None,
    team_file: bool = False,
) -> Plan:
    """Streams the PNGs into a temporary zip, checks it, and then renames it to `path`.

    Args:
        path: path of the zip.
        clips: all clips of the data set, in order.
        root: top folder inside the zip, with a trailing slash, or "".
        pictures: the PNGs of each clip, in the order of `members`.
        team: content of team.json at the root of the zip; None for no such file.
        team_file: whether the server requires team.json.

    Returns:
        The number of videos, expressions and masks.

    Raises:
        InputError: the zip is not what the data set requires; no file remains at `path`.
    """
    path.unlink(missing_ok=True)

    def fill(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
            for clip, data in zip(clips, pictures, strict=True):
                for name, picture in zip(members(clip, root), data, strict=True):
                    archive.writestr(zipfile.ZipInfo(name, EPOCH), picture)
            if team is not None:
                archive.writestr(zipfile.ZipInfo(FILE, EPOCH), team_json(team))
        if problems := check(Path(file.name), clips, root, team_file):
            raise InputError([f"{path} was not written: it would be refused", *problems])

    atomic_write(path, fill, mode=0o644)
    return plan(clips)


def check(path: Path, clips: Sequence[Clip], root: str = "Annotations/", team_file: bool = False) -> list[str]:
    """Checks any submission zip for what a server would refuse or silently misread.

    A valid zip contains each mask of each expression exactly once and nothing else, except team.json; each mask is an
    undamaged single-channel 8-bit PNG with values 0 and 255, of the size of the clip.

    Args:
        path: path of the zip.
        clips: all clips of the data set.
        root: top folder inside the zip, with a trailing slash, or "".
        team_file: whether team.json must be at the root of the zip; one that is there is checked in any case.

    Returns:
        One line per problem, at most a few dozen; empty if the zip is valid.
    """
    try:
        archive = zip_file(path)
    except InputError as e:
        return [f"{path}: not a zip: {str(e).removeprefix(f'{path}: ')}"]
    with archive:
        infos = {i.filename: i for i in zip_members(archive)}
        counts = Counter(i.filename for i in zip_members(archive))
        wanted = {name: clip for clip in clips for name in members(clip, root)}
        problems = []
        if wanted and infos.keys().isdisjoint(wanted):
            first = next(iter(infos), "nothing")
            example = next(iter(wanted))
            return [f"{path}: wrong layout: it starts with {first!r}, expected names such as {example!r}"]
        if FILE in infos:
            problems += _check_team(archive, infos[FILE], path)
        elif team_file:
            problems.append(f"{path}: {FILE} is missing at its root, which the server requires: {EXAMPLE}, as JSON")
        problems += [f"{path}: {n} is missing" for n in wanted if n not in infos]
        problems += [f"{path}: {n} is not expected" for n in sorted(infos.keys() - wanted.keys() - {FILE})]
        problems += [
            f"{path}: {n} occurs more than once" for n in sorted(n for n, count in counts.items() if count > 1)
        ]
        for name in (n for n in infos if n in wanted):
            if len(problems) > SHOWN:
                break
            problems += _check_picture(archive, infos[name], wanted[name], path)
    more = len(problems) - SHOWN
    return problems if more <= 0 else [*problems[:SHOWN], f"and {more} more"]


def _check_team(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> list[str]:
    """Problems of team.json in the zip."""
    where = f"{path}: {FILE}"
    try:
        return team_problems(parse_json(read_member(archive, info, where), where), where)
    except InputError as e:
        return e.problems


def _check_picture(archive: zipfile.ZipFile, info: zipfile.ZipInfo, clip: Clip, path: Path) -> list[str]:
    """Problems of one mask in the zip."""
    name = info.filename
    try:
        picture = png.decode(read_member(archive, info, f"{path}: {name}"), f"{path}: {name}")
    except InputError as e:
        return e.problems
    if picture.palette or picture.bits != 8:
        kind = "palette" if picture.palette else "grey"
        return [f"{path}: {name} is {picture.bits}-bit {kind}, expected 8-bit grey"]
    if picture.shape != tuple(clip.size):
        return [f"{path}: {name} is {picture.shape} (HxW), expected {tuple(clip.size)}"]
    # no value exceeds 255: all nonzero values equal it exactly if their sum is their count times 255
    if cv2.sumElems(picture.rows)[0] == 255 * np.count_nonzero(picture.rows):
        return []
    low, high = int(picture.values.min()), int(picture.values.max())
    return [f"{path}: {name} has values between {low} and {high}, expected 0 and 255"]
