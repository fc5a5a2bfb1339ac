"""`predictions=FOLDER`: the sources of a recipe are masks on disk, whatever their names.

The folder holds one folder or file of masks for each model. A recipe with sources of its own reads FOLDER/SOURCE for
each of them, or FOLDER/NAME where `map.SOURCE=NAME` says so. A recipe without sources, such as `vote`, reads every
model in the folder, or those that `sources=[a, b]` and `drop=[c]` leave.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import names_in, user_path
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.datasets import Dataset
from rvos_ensemble.adapters.datasets.meta import natural
from rvos_ensemble.adapters.files import Files
from rvos_ensemble.adapters.files.formats import SUFFIXES, is_on_disk
from rvos_ensemble.adapters.files.storage import is_junk
from rvos_ensemble.ensemble.recipe.config.merging import merge
from rvos_ensemble.ensemble.recipe.config.overrides import literal
from rvos_ensemble.ensemble.recipe.config.source_choice import CHOSEN
from rvos_ensemble.ensemble.recipe.recipe_edits import listed

BESIDE = (".scores", ".about")  # files beside masks, such as soc.scores.json


def with_masks_from(config: Any, problems: list[str]) -> Any:
    """The recipe with its sources replaced by the masks in its folder `predictions`; unchanged if it has none.

    Args:
        config: the recipe, with `predictions`, `map`, `drop` and the chosen sources.
        problems: extended with names that do not exist.

    Raises:
        InputError: `predictions` is no folder, or has no masks for a recipe without sources.
    """
    folder, renamed = config.get("predictions"), dict(config.get("map") or {})
    if folder is None:
        problems += ["map needs predictions=FOLDER: it names masks in that folder"] if renamed else []
        return config
    if not isinstance(folder, str) or not folder:
        raise InputError(f"predictions is {shown(folder)}, expected a folder; sources.NAME.path=PATH is for one source")
    own = [name for name, settings in (config.get("sources") or {}).items() if settings is not None]
    if own:
        single = config.get("source")
        own += [single] if isinstance(single, str) and single and single not in own else []
        problems += [_unknown_in_map(name, stem, own) for name, stem in renamed.items() if name not in own]
        stems = {name: renamed.get(name) or name for name in own}
    else:
        problems += ["map is for a recipe with sources of its own; this one reads every model"] if renamed else []
        stems = _left(models_in(folder), config, folder, problems)
    top = folder.rstrip("/") or "/"
    files = {name: {"adapter": "files", "path": literal(os.path.join(top, str(stem)))} for name, stem in stems.items()}
    return merge(config, OmegaConf.create({"sources": files}))


def models_in(folder: str) -> dict[str, str]:
    """{name of a source: name on disk, without suffix} of the models whose masks are in a folder, in natural order.

    Raises:
        InputError: the folder cannot be read, has no masks, or those of a single model.
    """
    root, models = user_path(folder), {}
    for entry in names_in(root):
        stem = _stem(root, entry)
        if stem is not None:
            models[re.sub(r"[^A-Za-z0-9_.-]+", "_", stem)] = stem
    if not models:
        raise InputError(
            f"predictions {folder}: no masks in it; expected a folder or a file ({', '.join(SUFFIXES)}) for each model"
        )
    if "Annotations" in models:
        raise InputError(
            f"predictions {folder}: the masks of a single model, in Annotations/; expected the folder above, with a "
            f"folder or file for each model: predictions={root.absolute().parent} sources=[{root.absolute().name}]"
        )
    return {name: models[name] for name in sorted(models, key=natural)}


def absent_masks(sources: Mapping[str, Adapter]) -> list[str]:
    """One sentence for each folder in which the masks of sources do not exist; it says what the folder has instead."""
    absent: dict[Path, list[str]] = {}
    for name, adapter in sources.items():
        if isinstance(adapter, Files):
            path = user_path(adapter.settings.path)
            if not is_on_disk(adapter.settings.path):
                absent.setdefault(path.parent, []).append(f"{name} ({path.name})" if name != path.name else name)
    return [_absence(folder, names) for folder, names in absent.items()]


def foreign_masks(sources: Mapping[str, Adapter], dataset: Dataset) -> list[str]:
    """One sentence if no mask on disk is of a clip of the data set, which can be told before its clips are rendered."""
    videos = sorted({v for adapter in sources.values() if isinstance(adapter, Files) for v in adapter.videos()})
    if not videos or any(map(dataset.may_have, videos)):
        return []
    return [
        f"data set {dataset.name}: the masks are of other videos ({first_few(videos, 3)}); give data=NAME and "
        "data.root=FOLDER for the data set that they are of"
    ]


def _absence(folder: Path, names: list[str]) -> str:
    who = first_few(names, 8)
    try:
        models = {stem for entry in names_in(folder) if (stem := _stem(folder, entry)) is not None}
    except InputError as error:
        return f"{error.problems[0]}, so that there are no masks of {who}"
    first = names[0].partition(" ")[0]
    return (
        f"{folder}: no masks of {who}; it has {first_few(sorted(models, key=natural), 12)}. map.{first}=NAME takes "
        f"one of them for the source {first}, drop=[{first}] leaves the source out, and recipe=vote fuses what is there"
    )


def _left(models: Mapping[str, str], config: Any, folder: str, problems: list[str]) -> dict[str, str]:
    """The models that the chosen and dropped sources leave; what is used here is removed from the config."""
    chosen, dropped = (listed(config.pop(key, None)) for key in (CHOSEN, "drop"))
    for key, names in (("sources", chosen), ("drop", dropped)):
        problems += [unknown_key(name, models, f"{key}: {folder}") for name in names if name not in models]
    left = {n: s for n, s in models.items() if (not chosen or n in chosen) and n not in dropped}
    if not left:
        raise InputError([*problems, f"predictions {folder}: nothing is left of {first_few(models, 12)}"])
    return left


def _stem(root: Path, entry: str) -> str | None:
    """The name of the model whose masks an entry of a folder may be, without suffix; None for other files."""
    if is_junk(entry):
        return None
    if os.path.isdir(root / entry):
        return entry
    stem, suffix = os.path.splitext(entry)
    return stem if suffix in SUFFIXES and not stem.endswith(BESIDE) else None


def _unknown_in_map(name: str, stem: Any, sources: Collection[str]) -> str:
    reversed_ = f"; map.{stem}={name} reads {name} as {stem}" if stem in sources else ""
    return f"{unknown_key(name, sources, 'map')}{reversed_}"
