"""Any frames, and masks where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adapters.component import REQUIRED
from adapters.datasets import Dataset
from adapters.datasets.frames import ImageFiles, PaletteTruth, few
from adapters.datasets.meta import make_clips, natural, parse, subset
from adapters.sequence import Clip, InputError

SUFFIXES = (".jpg", ".jpeg", ".png")


class Folder(Dataset):
    """Your own videos: a folder of frames each, with the expressions you give.

    Settings:
        root: folder with `JPEGImages/VIDEO/*.jpg` (or .png), or just `VIDEO/*.jpg`, in natural order of names; and
            `Annotations/VIDEO/FRAME.png` (palette of object ids, or grey 0/255) for videos that are to be scored.
        expressions: a list of sentences for every video; or {video: sentences}, where sentences are a list or
            {id: text or {exp: text, obj_id: object}}; or a json or yaml file with one of these, in root or elsewhere.
            Without it every video has one expression "0" with an empty text, enough for masks from files.
            An expression without obj_id means the only annotated object.
        videos: only these.
    """

    defaults = {"root": REQUIRED, "expressions": None, "videos": None}

    def clips(self) -> list[Clip]:
        """Every video, sorted by name; no picture is decoded.

        Raises:
            InputError: no videos, or expressions that do not fit them.
        """
        root = Path(self.settings.root).expanduser()
        top = root / "JPEGImages" if (root / "JPEGImages").is_dir() else root
        if not top.is_dir():
            raise InputError(f"{top}: no such folder, given as `root`")
        videos = {folder.name: _pictures(folder) for folder in top.iterdir() if folder.is_dir()}
        videos = {name: pictures for name, pictures in videos.items() if pictures}
        if not videos:
            raise InputError(f"{top}: no videos; expected a folder of {', '.join(SUFFIXES)} pictures for each")
        expressions, where = _load(self.settings.expressions, root)
        if isinstance(expressions, dict) and (unknown := [name for name in expressions if str(name) not in videos]):
            raise InputError(f"{where}: expressions of {few(sorted(map(str, unknown)))}, which {top} does not have")

        def make(name: str, pictures: tuple[Path, ...]) -> Clip:
            own = expressions.get(name) if isinstance(expressions, dict) else expressions
            entry = {"frames": [path.stem for path in pictures], "expressions": _by_id(own)}
            frames, parsed = parse(name, entry, where)
            images, annotations = ImageFiles(pictures), root / "Annotations" / name
            truth = None
            if annotations.is_dir():
                paths = tuple(annotations / f"{frame}.png" for frame in frames)
                truth = PaletteTruth(paths, {e.id: e.objects for e in parsed}, images)
            return Clip(name, frames, parsed, images, truth)

        return make_clips(subset(videos, self.settings.videos, top), make)


def _pictures(folder: Path) -> tuple[Path, ...]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return tuple(sorted(files, key=lambda path: natural(path.stem)))


def _load(given: Any, root: Path) -> tuple[list | dict, str | Path]:
    """The expressions as given or from their file, and where they are from."""
    if given is None:
        return [""], "expressions"
    if not isinstance(given, str):
        return given, "expressions"
    path = Path(given).expanduser()
    path = path if path.is_file() else root / path
    if path.suffix.lower() not in (".json", ".yaml", ".yml") or not path.is_file():
        raise InputError(f"{path}: not a json or yaml file, given as `expressions`; a sentence should be in a list")
    try:
        return OmegaConf.to_container(OmegaConf.load(path)), path
    except Exception as error:  # the errors of two libraries
        raise InputError(f"{path}: cannot be read as json or yaml: {error}") from error


def _by_id(expressions: Any) -> Any:
    """A list or {id: text} in the form of meta_expressions.json; anything else as it is, for `parse` to judge."""
    if isinstance(expressions, list):
        expressions = dict(enumerate(expressions))
    if not isinstance(expressions, dict):
        return expressions
    return {str(i): {"exp": e} if isinstance(e, str) else e for i, e in expressions.items()}
