"""Folders of weights in the Hugging Face layout: config.json beside safetensors, in one file or in shards.

A folder of the cache of huggingface_hub, models--ORG--NAME, is accepted as well: its snapshot counts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import exists, names_in, read_file
from rvos_ensemble.adapters.core.io.hashing import digest, file_hash, file_stamp
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import first_few, shown

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
MOST_JSON = 1 << 26  # bytes of a config or an index
MOST_SHARDS = 10_000
PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # endings of files that hold pickles


@dataclass(frozen=True)
class WeightsFolder:
    """The files that count in a folder of weights.

    Attributes:
        config: config.json.
        weights: files of safetensors.
    """

    config: Path
    weights: tuple[Path, ...]

    def fingerprint(self) -> str:
        """A hash that changes whenever the content of one of the files does; see `file_hash`."""
        return digest(" ".join(file_hash(file_stamp(path)) for path in (self.config, *self.weights)))


def open_folder(path: str | Path) -> WeightsFolder:
    """The files of a folder in the Hugging Face layout; their content is not read, except for the index of shards.

    Args:
        path: a folder with config.json and model.safetensors or its shards; or the folder of a repository in the cache
            of huggingface_hub.

    Raises:
        InputError: anything that is missing, all of it together, with what to do.
    """
    folder = _snapshot(Path(path))
    problems = [] if os.path.isfile(folder / CONFIG) else [_missing(folder, CONFIG, "the sizes of the network")]
    try:
        weights = _weights(folder)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    if problems:
        raise InputError(problems)
    return WeightsFolder(folder / CONFIG, weights)


def _snapshot(path: Path) -> Path:
    """The folder that holds the files: the snapshot called main, or the only one, if this is a cached repository."""
    snapshots = path / "snapshots"
    if not os.path.isdir(snapshots):
        return path
    names = names_in(snapshots)
    main = path / "refs" / "main"
    if os.path.isfile(main):
        name = read_file(main, most=1 << 12).decode("utf-8", "replace").strip()
        if name in names:
            return snapshots / name
        if len(names) != 1:
            raise InputError(
                f"{path}: refs/main names the snapshot {shown(name)}, which is not in the cache; {_again(path)}"
            )
    if not names:
        raise InputError(f"{path}: a cached repository without a snapshot; {_again(path)}")
    if len(names) > 1:
        raise InputError(f"{path}: holds the snapshots {first_few(names)}; name one of these folders below {snapshots}")
    return snapshots / names[0]


def _weights(folder: Path) -> tuple[Path, ...]:
    """The files of safetensors.

    Raises:
        InputError: there are none, or shards are missing or have impossible names.
    """
    if os.path.isfile(folder / INDEX):
        names = _shards(folder / INDEX)
        if problems := [
            _missing(folder, name, f"a shard that {INDEX} names") for name in names if not _is(folder, name)
        ]:
            raise InputError(problems)
        return tuple(folder / name for name in names)
    if _is(folder, WEIGHTS):
        return (folder / WEIGHTS,)
    raise InputError(_no_weights(folder))


def _shards(index: Path) -> list[str]:
    """The names of the files in an index of shards, sorted.

    Raises:
        InputError: it is not such an index, or a name is not that of a file in the same folder.
    """
    content = read_json(index, MOST_JSON)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table:
        raise InputError(f"{index}: holds no `weight_map`, expected {{name of a weight: file of safetensors}}")
    names = {name if isinstance(name, str) else shown(name) for name in table.values()}
    if wrong := sorted(n for n in names if not re.fullmatch(r"[\w.-]+\.safetensors", n)):
        raise InputError(f"{index}: names the file {shown(wrong[0])}, expected files of safetensors beside it")
    if len(names) > MOST_SHARDS:
        raise InputError(f"{index}: names {len(names):,} files, expected at most {MOST_SHARDS:,}")
    return sorted(names)


def _no_weights(folder: Path) -> str:
    """The sentence for a folder without safetensors."""
    if exists(folder / WEIGHTS):  # a link of the cache whose target is not there
        return _missing(folder, WEIGHTS, "the weights")
    names = names_in(folder)
    if shards := [n for n in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", n)]:
        return f"{folder}: has {first_few(shards, 2)} but not {INDEX}, which names all shards; copy it, too"
    files = [n for n in names if n.endswith(".safetensors")]
    if files:
        return f"{folder}: has {first_few(files, 3)}, expected {WEIGHTS} or {INDEX} with its shards"
    pickles = [n for n in names if n.endswith(PICKLES)]
    if any(n.startswith("pytorch_model") for n in pickles):
        return (
            f"{folder}: has {first_few(pickles, 2)}, a pickle, which is not loaded from a folder; expected {WEIGHTS}: "
            "take the safetensors of the repository, or let transformers write them with `save_pretrained`"
        )
    if pickles:
        return (
            f"{folder}: has no {WEIGHTS}; if {first_few(pickles, 2)} is a checkpoint of the official code, name the "
            f"file itself: weights={folder / pickles[0]}"
        )
    return _missing(folder, WEIGHTS, f"the weights; it has {first_few(names, 4)}")


def _missing(folder: Path, name: str, what: str) -> str:
    """The sentence for a file that a folder lacks."""
    if exists(folder / name) and not os.path.isdir(folder / name):
        return f"{folder / name}: a link to a file that does not exist: the download is incomplete; {_again(folder)}"
    return f"{folder}: has no {name}, {what}{_started(folder)}"


def _started(folder: Path) -> str:
    """A hint at downloads that were not completed, "" if there are none."""
    repository = _repository(folder)
    places = [folder, folder / ".cache" / "huggingface" / "download"] + ([repository / "blobs"] if repository else [])
    count = sum(name.endswith(".incomplete") for p in places if os.path.isdir(p) for name in os.listdir(p))
    return f"; {count} downloads were not completed (*.incomplete): {_again(folder)}" if count else ""


def _again(folder: Path) -> str:
    """What to do about a download that was not completed."""
    repository = _repository(folder)
    name = repository.name.removeprefix("models--").replace("--", "/") if repository else "ORG/NAME"
    return f"run `hf download {name}` again, with enough room on the disk"


def _repository(folder: Path) -> Path | None:
    """The folder models--ORG--NAME that this is or is part of."""
    return next((p for p in (folder, *folder.parents) if p.name.startswith("models--")), None)


def _is(folder: Path, name: str) -> bool:
    return os.path.isfile(folder / name)
