"""The user's own frames, with annotations if they exist."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, names_in, read_file, user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.core.no_pictures import NoPictures
from rvos_ensemble.adapters.core.settings import anything, either, listed, names, path, table
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import make_clips, natural, parse, subset
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth

SUFFIXES = (".jpg", ".jpeg", ".png")
MOST_BYTES = 1 << 26  # of a file with expressions


class VideoFolder(Dataset):
    """Your own videos: a folder of frames each, with your own expressions.

    Settings:
        root: folder with `JPEGImages/VIDEO/*.jpg` (or .png), or only `VIDEO/*.jpg`, in natural order of names; and
            `Annotations/VIDEO/FRAME.png` (palette of object ids, or grey 0/255) for videos to be scored. With
            Annotations only, recipes run that read no pictures, such as votes.
        expressions: a list of sentences for every video; or {video: sentences}, where sentences are a list or
            {id: text or {exp: text, obj_id: object}}; or a json or yaml file with one of these, in root or elsewhere.
            By default every video has one expression "0" with an empty text, which is enough for masks from files.
            An expression without obj_id refers to the only annotated object.
        videos: restricts the data set to these videos.
    """

    defaults = {
        "root": path(),
        "expressions": either(None, path(), listed(anything()), table(), what="a list of sentences, a table or a file"),
        "videos": names(None),
    }

    def clips(self) -> list[Clip]:
        """Every video, sorted by name; no frame is decoded.

        Raises:
            BadClips: some videos cannot be read, have no frames, or have malformed expressions.
            InputError: no videos, or expressions of videos that do not exist.
        """
        root = user_path(self.settings.root)
        expressions, where = _load(self.settings.expressions, root)
        described = set(expressions) if isinstance(expressions, dict) else set()
        top, videos = _videos(root, described | _names(self.settings.videos))
        if unknown := sorted(described - videos.keys()):
            raise InputError(f"{where}: expressions of {first_few(unknown, 3)}, which {top} does not have")

        def make(name: str, pictures: tuple[Path, ...] | InputError) -> Clip:
            if isinstance(pictures, InputError):
                raise pictures
            if not pictures:
                raise InputError(
                    f"{top / name}: no pictures in it; expected {', '.join(SUFFIXES)} files, one per frame"
                )
            sentences = expressions.get(name) if isinstance(expressions, dict) else expressions
            entry = {"frames": [path.stem for path in pictures], "expressions": _by_id(sentences)}
            frames, parsed = parse(name, entry, where)
            annotations = root / "Annotations" / name
            images = ImageFiles(pictures)
            if top == root / "Annotations":
                images = NoPictures(str(root / "JPEGImages"), pictures[0])
            truth = None
            if exists(annotations):
                paths = tuple(annotations / f"{frame}.png" for frame in frames)
                truth = PaletteTruth(paths, {e.id: e.objects for e in parsed}, images)
            return Clip(name, frames, parsed, images, truth)

        return make_clips(subset(videos, self.settings.videos, top), make)


def _names(videos: Any) -> set[str]:
    """The setting `videos` as a set."""
    return {str(name) for name in (videos if isinstance(videos, (list, tuple)) else [videos])}


def _videos(root: Path, named: set[str]) -> tuple[Path, dict[str, tuple[Path, ...] | InputError]]:
    """The folder of all videos, and {video: its frames, or why they cannot be listed}.

    Where there are no pictures, these are the annotations in `Annotations`, whose names are those of the frames.

    Every folder in `JPEGImages` is a video. Directly in `root`, where other folders are possible too, a folder is a
    video if it has images, is named in the settings, or cannot be read.
    """
    if not exists(root):
        raise InputError(f"{root}: no such folder, given as `root`")
    nested = exists(root / "JPEGImages")
    top = root / "JPEGImages" if nested else root
    videos: dict[str, tuple[Path, ...] | InputError] = {}
    for name in names_in(top):
        try:
            if stat.S_ISDIR(os.stat(top / name).st_mode):
                videos[name] = _pictures(top / name)
        except InputError as error:
            videos[name] = error
        except OSError as error:  # for example a broken link
            videos[name] = InputError(f"{top / name}: cannot be read: {error.strerror}")
    if not nested:
        others = [name for name, pictures in videos.items() if pictures == () and name not in named]
        videos = {name: pictures for name, pictures in videos.items() if name not in others}
        if videos and (others := [name for name in others if name != "Annotations"]):
            print(f"note: {top}: folders without pictures are skipped: {first_few(others, 3)}", file=sys.stderr)
    if not videos and not nested and top.name != "Annotations" and exists(root / "Annotations"):
        return _videos(root / "Annotations", named)
    if not videos:
        raise InputError(f"{top}: no videos; expected a folder of {', '.join(SUFFIXES)} pictures for each")
    return top, videos


def _pictures(folder: Path) -> tuple[Path, ...]:
    files = (folder / name for name in names_in(folder))
    return tuple(sorted((f for f in files if f.suffix.lower() in SUFFIXES), key=lambda path: natural(path.stem)))


def _load(setting: Any, root: Path) -> tuple[list | dict, str | Path]:
    """The expressions in the setting or in the file that it names, and a name for their origin."""
    if setting is None:
        return [""], "expressions"
    if not isinstance(setting, str):
        return _with_string_keys(setting), "expressions"
    path = user_path(setting)
    path = path if os.path.isfile(path) else root / path
    if path.suffix.lower() not in (".json", ".yaml", ".yml") or not os.path.isfile(path):
        raise InputError(f"{path}: not a json or yaml file, given as `expressions`; a sentence should be in a list")
    return _with_string_keys(read_json(path) if path.suffix.lower() == ".json" else _read_yaml(path)), path


def _read_yaml(path: Path) -> Any:
    data = read_file(path, MOST_BYTES)
    try:
        if b"*" in data and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data)):
            raise InputError(f"{path}: has an alias (*name); write out its value")  # aliases can expand without limit
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(data.decode("utf-8-sig"))))
    except InputError:
        raise
    except Exception as error:  # of two libraries
        raise InputError(f"{path}: cannot be read as json or yaml: {' '.join(str(error).split())}") from error


def _with_string_keys(content: Any) -> Any:
    """Converts keys to strings: YAML reads the video 0123, and ids, as numbers."""
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else content


def _by_id(expressions: Any) -> Any:
    """A list or {id: text} in the form of meta_expressions.json; anything else unchanged, for `parse` to check."""
    if isinstance(expressions, list):
        expressions = dict(enumerate(expressions))
    if not isinstance(expressions, dict):
        return expressions
    return {str(i): {"exp": e} if isinstance(e, str) else e for i, e in expressions.items()}
