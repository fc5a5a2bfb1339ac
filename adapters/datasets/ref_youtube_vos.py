"""Ref-YouTube-VOS, and any data in its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.disk import exists, user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.json_text import read_json
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import names, path, text
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.image_files import ImageFiles
from rvos_ensemble.adapters.datasets.meta import make_clips, object_ids, parse, read_videos, subset
from rvos_ensemble.adapters.datasets.palette_truth import PaletteTruth

VALID = frozenset(Path(__file__).with_name("ref_youtube_vos_valid.txt").read_text(encoding="ascii").split())


class RefYoutubeVOS(Dataset):
    """Ref-YouTube-VOS: clips, frames and expressions exactly as meta_expressions.json lists them.

    Settings:
        root: folder with `meta_expressions/SPLIT/meta_expressions.json`, `SPLIT/JPEGImages/VIDEO/FRAME.jpg` and, where
            there is ground truth, `SPLIT/Annotations/VIDEO/FRAME.png`.
        split: any that root has. The official valid json holds 507 videos: `valid` are its 202, `test` the other 305.
        meta: another json file than that of root.
        videos: only these.
        obj_ids: json {video: {expression: obj_id}}, for scoring where the data set keeps the objects secret: it feeds
            the ground truth, never `Expression.objects`. Default `meta_expressions/SPLIT/obj_ids.json`, if there.
    """

    defaults = {
        "root": path(),
        "split": text("valid"),
        "meta": path(None),
        "videos": names(None),
        "obj_ids": path(None),
    }

    def clips(self) -> list[Clip]:
        """Every clip of the split, sorted by name; no picture is touched.

        Raises:
            BadClips: the json says things of some clips that cannot be.
            InputError: the json or the split does not exist, or is malformed.
        """
        root, split = user_path(self.settings.root), self.settings.split
        meta = _meta_file(root, split, self.settings.meta)
        videos = _split_of(read_videos(meta), split, meta, root)
        videos = subset(videos, self.settings.videos, meta)
        media = root / split
        if split == "test" and not exists(media):
            media = root / "valid"  # its pictures lie there when the 507 were not taken apart
        annotations = media / "Annotations"
        secret = _secret_objects(root, split, self.settings.obj_ids)

        def make(name: str, entry: Any) -> Clip:
            frames, expressions = parse(name, entry, meta)
            images = ImageFiles(tuple(media / "JPEGImages" / name / f"{frame}.jpg" for frame in frames))
            told, where = secret.get(name, {}), f"obj_ids: video {shown(name)}"
            known = {e.id: object_ids(told.get(e.id), where) or e.objects for e in expressions}
            known = {i: objects for i, objects in known.items() if objects}
            truth = None
            if known and exists(annotations):
                truth = PaletteTruth(tuple(annotations / name / f"{frame}.png" for frame in frames), known, images)
            return Clip(name, frames, expressions, images, truth, in_pairs=True)

        return make_clips(videos, make)


def _meta_file(root: Path, split: str, given: str | None) -> Path:
    if given is not None:
        return user_path(given)
    folder = root / "meta_expressions"
    wanted = folder / split / "meta_expressions.json"
    if exists(wanted):
        return wanted
    valid = folder / "valid" / "meta_expressions.json"
    if split == "test" and exists(valid) and read_videos(valid).keys() > VALID:
        return valid
    splits = sorted(path.parent.name for path in folder.glob("*/meta_expressions.json"))
    there = f"there are the splits {', '.join(splits)}" if splits else f"there are no splits in {folder}"
    raise InputError(f"{wanted}: no such file, so there is no split {split!r}; {there}")


def _split_of(videos: dict, split: str, meta: Path, root: Path) -> dict:
    """The split's videos: the official valid file holds test videos too, any other file is taken whole."""
    test = root / "meta_expressions" / "test" / "meta_expressions.json"
    if split == "valid" and exists(test):
        taken = read_videos(test).keys()
        rest = {name: entry for name, entry in videos.items() if name not in taken}
        if not rest or (videos.keys() >= VALID and rest.keys() != VALID):
            raise InputError(
                f"{test}: without its videos, {len(rest)} of the {len(videos)} of {meta} are left for valid, expected "
                f"the official {len(VALID)}; replace or remove this file"
            )
        return rest
    if split in ("valid", "test") and videos.keys() > VALID:
        return {name: entry for name, entry in videos.items() if (name in VALID) == (split == "valid")}
    return videos


def _secret_objects(root: Path, split: str, given: str | None) -> dict[str, dict]:
    path = user_path(given) if given else root / "meta_expressions" / split / "obj_ids.json"
    if given is None and not exists(path):
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise InputError(f"{path}: expected {{video: {{expression: obj_id}}}}")
    return content
