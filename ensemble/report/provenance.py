"""Where the results of a run come from: recipe, paths, hashes and versions, for the report and the manifest."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.ensemble.engine.storage.store import key_of
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.record import ClipRecord

PACKAGES = (
    "numpy",
    "opencv-python",
    "torch",
    "transformers",
    "tokenizers",
    "joblib",
    "omegaconf",
    "pillow",
    "zlib-ng",
    "pycocotools",
    "pandas",
)
LEFT_OUT = ("team", "out")  # of the recipe: names of people, and the folder, which changes nothing


def versions() -> dict[str, str | None]:
    """{package: its version, None if it is not installed} of the packages that results may depend on."""
    return {package: _version(package) for package in ("rvos-ensemble", *PACKAGES)}


def provenance(recipe: Recipe, clips: Sequence[Clip], records: Sequence[ClipRecord]) -> dict[str, Any]:
    """What the page states about the origin of the results.

    Args:
        recipe: the recipe of the run.
        clips: the clips with results.
        records: their records, in the same order.

    Returns:
        `recipe`: everything resolved, as YAML, without `LEFT_OUT`; `paths`; `hashes` {what: hash}; `versions`.
        Runs of the same recipe on the same data have the same. Paths are as the user gave them, see `from_home`.
    """
    names = [*recipe.sources, *recipe.steps]
    keys = {name: _together([r.keys.get(name) for r in records]) for name in names}
    hashes = {f"weights of {name}": hash for name, hash in _weights(recipe, clips).items()}
    hashes |= {"ground truth": _together([r.truth for r in records])}
    hashes |= {f"result of {name}": key for name, key in keys.items()}
    hashes |= {"masks in Annotations/": _together([r.pictures for r in records])}
    local = isinstance(recipe.store, Path)
    own = local and recipe.store.resolve().is_relative_to(recipe.out.resolve())  # then it moves with the results
    paths = ({} if own else {"store": recipe.store}) | _paths(recipe.config["data"], "data")
    for group in ("sources", "propagators"):
        for name, settings in recipe.config[group].items():
            if name in getattr(recipe, group):
                paths |= _paths(settings or {}, name)
    config = from_home({k: v for k, v in recipe.config.items() if k not in LEFT_OUT})
    return {
        "recipe": OmegaConf.to_yaml(OmegaConf.create(config)),
        "paths": from_home({what: str(path) for what, path in paths.items()}),
        "hashes": {what: value for what, value in hashes.items() if value},
        "versions": {"python": platform.python_version(), **{k: v for k, v in versions().items() if v}},
    }


def from_home(value: Any) -> Any:
    """Settings in which paths in the user's home start with `~`: a page that is passed on does not name the user."""
    if isinstance(value, Mapping):
        return {key: from_home(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [from_home(part) for part in value]
    home = Path.home()
    inside = isinstance(value, (str, Path)) and len(home.parts) > 1 and Path(value).is_relative_to(home)
    return f"~/{Path(value).relative_to(home).as_posix()}".removesuffix("/.") if inside else value


def _weights(recipe: Recipe, clips: Sequence[Clip]) -> dict[str, str]:
    """{source or propagator: hash of its weights}, of those that have weights."""
    result = {name: p.fingerprint() for name, p in recipe.propagators.items() if _has_weights(p)}
    for name, adapter in recipe.sources.items():
        if _has_weights(adapter) and clips:
            result[name] = adapter.fingerprint(clips[0])
    return result


def _has_weights(component: Any) -> bool:
    return bool(getattr(component.settings, "weights", None))


def _paths(settings: Any, where: str) -> dict[str, str]:
    """The settings that are paths of files or folders, by their names."""
    named = ("root", "path", "weights", "video", "folder", "images", "expressions")
    return {f"{where}.{key}": settings[key] for key in named if isinstance(settings.get(key), str)}


def _together(hashes: Sequence[str | None]) -> str:
    """One hash for those of all clips; "" if one is unknown."""
    return key_of(*hashes) if hashes and all(hashes) else ""


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
