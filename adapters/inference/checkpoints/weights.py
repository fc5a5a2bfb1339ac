"""Reads tensors by name from checkpoint files, as official codes write them; nothing in a file is executed."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write, user_path
from rvos_ensemble.adapters.core.io.hashing import file_hash, file_stamp
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.torch_file import dense, is_packed, reason, verify_checksums
from rvos_ensemble.adapters.inference.checkpoints.folder import open_folder

CONTAINERS = (  # keys of the weights beside optimizers and counters; averaged weights come first
    "state_dict_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model",
    "model_state_dict",
)
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
SHOWN = 5  # keys named in an error
SHIPPED = [Path(__file__).parents[3] / package / "weights" for package in ("adapters", "propagators")]
# types in official files beside tensors: the command line, and scores as numpy numbers, also by numpy 1's name
HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(t)) for t in (np.float32, np.float64, np.int32, np.int64)},
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]


def read_weights(path: str | Path, what: str = "a checkpoint", folders: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their plain names; they are read from the file when they are used.

    Args:
        path: a state dict, or a file with one under one of `CONTAINERS`, keys with or without `module.`; .safetensors;
            or the name of weights of this package.
        what: what the file should be, for the message if it does not exist.
        folders: whether a folder in the Hugging Face layout is accepted as well, see `open_folder`.

    Raises:
        InputError: no file, a damaged one, no tensors by name in it, or a pickle that needs more than tensors to load.
    """
    path = weights_file(path)
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file, expected {what}, or one of ours: {', '.join(shipped())}")
    if folders and os.path.isdir(path):
        return _of_shards(open_folder(path).weights)
    return _of_file(path)


def weights_hash(path: str | Path) -> str:
    """A hash of what `read_weights` reads, and of config.json in a folder; cached as long as no file changes."""
    path = weights_file(path)
    return open_folder(path).fingerprint() if os.path.isdir(path) else file_hash(file_stamp(path))


def _of_shards(files: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of several files by their plain names.

    Raises:
        InputError: everything that is wrong with the files; or two of them hold a tensor of the same name.
    """
    tensors: dict[str, Tensor] = {}
    problems: list[str] = []
    for file in files:
        try:
            content = _of_file(file)
        except InputError as error:
            problems += error.problems
            continue
        if twice := tensors.keys() & content.keys():
            problems.append(f"{file}: holds {first_few(sorted(twice), SHOWN)}, which another shard holds, too")
        tensors |= content
    if problems:
        raise InputError(problems)
    return tensors


def _of_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by their plain names; see `read_weights`."""
    content = _load(path)
    for name in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not any(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path}: holds {type(content).__name__}, expected a checkpoint with tensors by name")
    return _named(content, path)


def _named(content: Mapping, path: Path) -> dict[str, Tensor]:
    """The tensors under their plain names.

    Raises:
        InputError: a name that is no text or that occurs twice; a tensor that is not plain numbers in memory.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            continue
        if type(key) is not str:
            raise InputError(f"{path}: a tensor in it is called {shown(key)}, expected a text")
        name, plain = _plain(key), dense(value)
        # a view with more elements than stored numbers is not a weight, and could be made to fill any memory
        if plain is None or plain.is_complex() or plain.numel() * plain.itemsize > plain.untyped_storage().nbytes():
            kind = f"{value.layout}, {value.dtype}, on {value.device.type}".replace("torch.", "")
            raise InputError(f"{path}: {shown(name)} is a {type(value).__name__} ({kind}), expected plain numbers")
        if name in tensors:
            raise InputError(f"{path}: holds {shown(name)} twice, once with a prefix; which one counts?")
        if not name.endswith("num_batches_tracked"):  # counters of batch norms that were not frozen; never needed
            tensors[name] = plain
    return tensors


def read_note(path: str | Path, name: str) -> str | None:
    """A note that our own training stored beside the weights, such as `layer`; None if there is none."""
    path = weights_file(path)
    content = None if path.suffix == ".safetensors" else _load(path)
    note = content.get(name) if isinstance(content, Mapping) else None
    return note if isinstance(note, str) else None


def weights_file(name: str | Path) -> Path:
    """The file that the setting `weights` means: a path, or the name of weights of this package."""
    return shipped().get(str(name)) or user_path(name)


def shipped() -> dict[str, Path]:
    """The weights of this package by name, trained by ourselves; each has a model card beside it."""
    return {path.stem: path for folder in SHIPPED for path in sorted(folder.glob("*.safetensors"))}


def write_weights(weights: Mapping[str, Tensor], path: Path) -> Path:
    """Writes weights as fp16 safetensors, all at once or not at all.

    Args:
        weights: tensors by name.
        path: of the file, *.safetensors.

    Raises:
        InputError: a weight that fp16 cannot hold, such as the scale of a batch norm whose input was constant.
    """
    tensors = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in weights.items()}
    lost = [k for k, v in tensors.items() if not torch.isfinite(v).all()]
    if lost:
        raise InputError(
            f"{path}: {len(lost)} weights are more than fp16 can hold, such as {lost[0]}; train on, or ship fp32"
        )
    atomic_write(path, save(tensors), mode=0o644, make=False)
    return path


def mismatches(weights: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The differences between weights and the expected ones, one sentence each.

    Args:
        weights: tensors by name.
        expected: shapes by name.
    """
    problems = []
    for what, keys in (
        ("weights are missing", sorted(expected.keys() - weights.keys())),
        ("unknown weights are in it", sorted(weights.keys() - expected.keys())),
    ):
        if keys:
            problems.append(f"{what}: {first_few(keys, SHOWN)}")
    other = [k for k in sorted(expected.keys() & weights.keys()) if tuple(weights[k].shape) != expected[k]]
    problems += [f"{k} has shape {tuple(weights[k].shape)}, expected {expected[k]}" for k in other[:SHOWN]]
    if len(other) > SHOWN:
        problems.append(f"and {len(other) - SHOWN} more have another shape")
    return problems


def shape_of(weights: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """The shape of a weight, () if there is none of that name; for weights of an unknown network."""
    return tuple(weights[key].shape) if key in weights else ()


def stranger(weights: Mapping[str, Tensor]) -> str:
    """What a file holds that is not a checkpoint of the expected family."""
    keys = list(weights)
    if any(k.startswith("LSTT.") for k in keys):
        return "weights of the propagators AOT or DeAOT (propagators.aot.weights=FILE)"
    if any(k.startswith(("sam_mask_decoder.", "memory_attention.", "tracker_model.")) for k in keys):
        return "weights of SAM 2, EdgeTAM or SAM 3 (propagators.aot.propagator=sam2 propagators.aot.weights=PATH)"
    if any(k.endswith("encoder.layer.0.attention.self.query.weight") for k in keys):
        return "a language model alone"
    if any(k.endswith(("patch_embed.proj.weight", "layer1.0.conv1.weight", "stem.0.weight")) for k in keys):
        return "a backbone alone, as it was pre-trained"
    return f"holds other weights ({', '.join(keys[:3])}, ...)"


def _load(path: Path) -> Any:
    """The content of a file; nothing in it is executed.

    Raises:
        InputError: the file cannot be read, with the reason.
    """
    stamp = file_stamp(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:  # SafetensorError, OSError, and what its header makes of torch
            why = reason(error)
            raise InputError(f"{path}: not safetensors, or a file that is cut short or damaged ({why})") from error
    packed = is_packed(str(path))
    if packed:
        verify_checksums(stamp)
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=packed)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise InputError(f"{path}: not a checkpoint, or a damaged one") from error
        raise InputError(
            f"{path}: a pickle that calls {named[1]}, which is more than tensors need; it was not loaded. "
            "Save its state dict alone if you trust where it comes from"
        ) from error
    except Exception as error:  # torch's unpickler raises whatever a damaged file, or one of text, leads it to
        why = reason(error)
        raise InputError(f"{path}: not a checkpoint, or one that is cut short or damaged ({why})") from error


def _plain(key: str) -> str:
    """A name without the prefixes of wrappers."""
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key
