"""Which format the masks at a path have, and the reader for it."""

from __future__ import annotations

import os
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, user_path
from rvos_ensemble.adapters.core.io.hashing import file_stamp
from rvos_ensemble.adapters.files.content import mask_layout
from rvos_ensemble.adapters.files.readers.challenge_pth import ChallengePth
from rvos_ensemble.adapters.files.readers.coco_rle import CocoRle
from rvos_ensemble.adapters.files.readers.npz import Npz, NpzTree
from rvos_ensemble.adapters.files.readers.png_masks import PngMasks
from rvos_ensemble.adapters.files.readers.reader import Reader
from rvos_ensemble.adapters.files.storage import Folder, Zip
from rvos_ensemble.adapters.files.tools.referdino import ReferDino, referdino_files
from rvos_ensemble.adapters.files.tools.sa2va import Sa2va

SUFFIXES = (".zip", ".json", ".npz", ".pth")


def open_reader(path: Path, kind: str | None, objects: str, extra: str, missing: str, threshold: float) -> Reader:
    """The reader for the format of a path; of json and npz, the content decides, and is kept for the reader.

    Args:
        path: as `mask_path` returns it.
        kind, objects, extra, missing, threshold: the settings of `Files`.

    Raises:
        InputError: files of no known format, or of one that holds no masks; or a `kind` that the format cannot have.
    """
    if path.is_dir():
        folder = Folder(str(path))
        suffix = folder.first_suffix((".png", ".npz", ".pth"))
        if suffix == ".pth":
            chunks = [f for f in folder.entries("")[1] if f.endswith(".pth")]
            return ChallengePth(tuple(str(path / f) for f in chunks), kind)
        if suffix == ".npz":
            files = referdino_files(str(path))
            return _referdino(files, kind, threshold) if files else NpzTree(str(path), kind)
        return PngMasks(folder, kind, objects, extra, missing)
    if path.suffix == ".zip":
        return PngMasks(Zip(str(path)), kind, objects, extra, missing)
    if path.suffix == ".pth":
        return ChallengePth((str(path),), kind)
    if path.suffix == ".npz":
        files = referdino_files(str(path))
        return _referdino(files, kind, threshold) if files else Npz(str(path), kind)
    if mask_layout(file_stamp(path)) == "sa2va":
        return Sa2va(str(path), kind, missing, extra)
    return CocoRle(str(path), kind)


def _referdino(files: tuple[str, ...], kind: str | None, threshold: float) -> Reader:
    if kind is not None:
        raise InputError(f"{files[0]}: ReferDINO's masks are logits in every case; remove `kind: {kind}`")
    return ReferDino(files, threshold)


def mask_path(written: str) -> Path:
    """The one folder or file that a path or stem means.

    Args:
        written: the path of a folder or file, or the stem of one; with `/` at its end it can only mean the folder.

    Raises:
        InputError: no such folder or file, several of them, or a file of an unknown format.
    """
    path = user_path(written)
    if os.path.isfile(path):
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path}: cannot be read; expected a folder, or one of {', '.join(SUFFIXES)}")
        return path
    candidates = [path] if os.path.isdir(path) else []
    if not written.endswith("/"):
        candidates += [p for s in SUFFIXES if os.path.isfile(p := path.parent / f"{path.name}{s}")]
    if len(candidates) > 1:
        names = ", ".join(f"{c}/" if c.is_dir() else str(c) for c in candidates)
        raise InputError(f"{path}: several candidates: {names}; write out the full name (a folder with / at its end)")
    if not candidates:
        tried = ", ".join(f"{path.name}{s}" for s in ("/", *SUFFIXES))
        raise InputError(f"{path}: no masks at this path; looked in {path.parent} for {tried}")
    return candidates[0]


def is_on_disk(written: str) -> bool:
    """Whether a folder or file exists that a path or stem may mean."""
    path = user_path(written)
    return any(exists(path.with_name(f"{path.name}{suffix}")) for suffix in ("", *SUFFIXES))


def beside(path: Path, what: str) -> Path:
    """The path of `STEM.WHAT.json` beside a folder or file of masks."""
    stem = path.stem if os.path.isfile(path) else path.name
    return path.parent / f"{stem}.{what}.json"
