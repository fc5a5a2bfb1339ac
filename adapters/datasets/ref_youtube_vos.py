"""Ref-YouTube-VOS, and any data in its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import names, path, text
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.image_files import frames_in
from rvos_ensemble.adapters.datasets.meta import make_clips, object_ids, parse, read_videos, subset
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth

VALID = frozenset(Path(__file__).with_name("ref_youtube_vos_valid.txt").read_text(encoding="ascii").split())


class RefYoutubeVOS(Dataset):
    """Ref-YouTube-VOS: clips, frames and expressions exactly as meta_expressions.json lists them.

    Settings:
        root: folder with `meta_expressions/SPLIT/meta_expressions.json`, `SPLIT/JPEGImages/VIDEO/FRAME.jpg` and, if
            there is ground truth, `SPLIT/Annotations/VIDEO/FRAME.png`. Without JPEGImages, recipes run that read no
            pictures, such as votes.
        split: any split in root. The official valid json lists 507 videos: 202 are `valid`, the other 305 `test`.
        meta: a json file to use instead of that in root.
        videos: restricts the data set to these videos.
        obj_ids: json {video: {expression: obj_id}}, for scoring a data set that keeps the objects secret: it is used
            for the ground truth, never for `Expression.objects`. Default: `meta_expressions/SPLIT/obj_ids.json`, if it
            exists.
    """

    defaults = {
        "root": path(),
        "split": text("valid"),
        "meta": path(None),
        "videos": names(None),
        "obj_ids": path(None),
    }

    def clips(self) -> list[Clip]:
        """Every clip of the split, sorted by name; no frame is read.

        Raises:
            BadClips: the entries of some clips are malformed.
            InputError: the json or the split does not exist, or is malformed.
        """
        root, split = user_path(self.settings.root), self.settings.split
        meta = _meta_file(root, split, self.settings.meta)
        videos = _split_of(read_videos(meta), split, meta, root)
        videos = subset(videos, self.settings.videos, meta)
        media = root / split
        if split == "test" and not exists(media):
            media = root / "valid"  # its frames lie there if the 507 videos were not separated
        annotations, pictures = media / "Annotations", media / "JPEGImages"
        secret = _secret_objects(root, split, self.settings.obj_ids)

        def make(name: str, entry: Any) -> Clip:
            frames, expressions = parse(name, entry, meta)
            truths = tuple(annotations / name / f"{frame}.png" for frame in frames)
            images = frames_in(pictures, tuple(pictures / name / f"{frame}.jpg" for frame in frames), truths)
            secret_ids, where = secret.get(name, {}), f"obj_ids: video {shown(name)}"
            known = {e.id: object_ids(secret_ids.get(e.id), where) or e.objects for e in expressions}
            known = {i: objects for i, objects in known.items() if objects}
            truth = None
            if known and exists(annotations):
                truth = PaletteTruth(truths, known, images)
            return Clip(name, frames, expressions, images, truth, in_pairs=True)

        return make_clips(videos, make)


def _meta_file(root: Path, split: str, setting: str | None) -> Path:
    if setting is not None:
        return user_path(setting)
    folder = root / "meta_expressions"
    wanted = folder / split / "meta_expressions.json"
    if exists(wanted):
        return wanted
    valid = folder / "valid" / "meta_expressions.json"
    if split == "test" and exists(valid) and read_videos(valid).keys() > VALID:
        return valid
    splits = sorted(path.parent.name for path in folder.glob("*/meta_expressions.json"))
    available = f"the splits are {', '.join(splits)}" if splits else f"{folder} has no splits"
    raise InputError(f"{wanted}: no such file, so split {split!r} does not exist; {available}")


def _split_of(videos: dict, split: str, meta: Path, root: Path) -> dict:
    """The videos of a split: the official valid file lists the test videos too; of any other file, all are used."""
    test = root / "meta_expressions" / "test" / "meta_expressions.json"
    if split == "valid" and exists(test):
        test_videos = read_videos(test).keys()
        rest = {name: entry for name, entry in videos.items() if name not in test_videos}
        if not rest or (videos.keys() >= VALID and rest.keys() != VALID):
            raise InputError(
                f"{test}: without its videos, {len(rest)} of the {len(videos)} of {meta} are left for valid, expected "
                f"the official {len(VALID)}; replace or remove this file"
            )
        return rest
    if split in ("valid", "test") and videos.keys() > VALID:
        return {name: entry for name, entry in videos.items() if (name in VALID) == (split == "valid")}
    return videos


def _secret_objects(root: Path, split: str, setting: str | None) -> dict[str, dict]:
    path = user_path(setting) if setting else root / "meta_expressions" / split / "obj_ids.json"
    if setting is None and not exists(path):
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise InputError(f"{path}: expected {{video: {{expression: obj_id}}}}")
    return content
