"""Networks of transformers in folders in the Hugging Face layout.

Only config.json and the safetensors are read, by the readers of this package. Nothing in them is executed, and nothing
is downloaded.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON, WeightsFolder, open_folder
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights
from rvos_ensemble.adapters.networks.pretrained.config import kind_of, make_config, plain_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

UNNEEDED = ("criterion.",)  # weights of losses, which inference does not use


@dataclass(frozen=True)
class Architecture:
    """A network that transformers can build.

    Attributes:
        name: of its class in transformers, such as "Sam3Model".
        kinds: the values of `model_type` whose weights hold such a network; the first is its own.
        part: {model_type: key of the network's own config in it}, where it is a part of a larger network.
        renamed: {beginning of a name of a weight in such a larger network: beginning of its name in this network}.
    """

    name: str
    kinds: tuple[str, ...]
    part: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pretrained:
    """A folder with the weights of a network of transformers.

    Attributes:
        files: config and weights.
        architecture: which network it is.
        config: of the network.
    """

    files: WeightsFolder
    architecture: Architecture
    config: PreTrainedConfig

    @property
    def folder(self) -> Path:
        """The folder that holds the files; inside a cached repository the snapshot."""
        return self.files.config.parent

    def fingerprint(self) -> str:
        """A hash that changes whenever the config or a weight does."""
        return self.files.fingerprint()

    def network(self) -> nn.Module:
        """The network with its weights, in eval mode, float32, on the CPU.

        Weights that the network does not have are ignored, as transformers does: published files hold buffers of older
        versions, and the other networks of a larger one.

        Raises:
            InputError: damaged files, or weights that the network needs and that are missing or have another shape.
        """
        import transformers

        weights = read_weights(self.folder, folders=True)
        for old, new in self.architecture.renamed.items():
            weights = {new + k.removeprefix(old) if k.startswith(old) else k: v for k, v in weights.items()}
        with quiet():
            try:
                network, report = getattr(transformers, self.architecture.name).from_pretrained(
                    None,
                    config=copy.deepcopy(self.config),
                    state_dict=weights,
                    dtype=torch.float32,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,  # they are reported below, together with missing ones
                )
            except Exception as error:  # sizes that no network can have
                raise InputError(f"{self.files.config}: no network is of its sizes: {reason(error)}") from error
        if problems := list(_misfits(report)):
            raise InputError(f"{self.folder}: read as {self.architecture.name}, but {p}" for p in problems)
        return network.eval().requires_grad_(False)


def open_pretrained(path: str | Path, architectures: Collection[Architecture]) -> Pretrained:
    """The network in a folder; its weights are not read, `Pretrained.network` does that.

    Args:
        path: a folder with config.json and safetensors, or the folder of a repository in the cache of huggingface_hub.
        architectures: the networks that it may hold.

    Raises:
        InputError: no such folder, files that are missing, or another network; with what to do.
    """
    folder = user_path(path)
    if not folder.is_dir():
        what = "a file, expected the folder" if folder.exists() else "no such folder, expected one"
        raise InputError(f"{path}: {what} with config.json and model.safetensors")
    files = open_folder(folder)
    content, where = read_json(files.config, MOST_JSON), str(files.config)
    kinds = sorted(kind for a in architectures for kind in a.kinds)
    kind = kind_of(
        content, kinds, where, lambda k: f"describes a network of the kind {shown(k)}, expected {' or '.join(kinds)}"
    )
    values = plain_config(content, where)
    architecture = next(a for a in architectures if kind in a.kinds)
    if key := architecture.part.get(kind):
        if not isinstance(values.get(key), dict):
            raise InputError(f"{where}: a {kind} without `{key}`, the sizes of {architecture.name}")
        values = values[key]
    with quiet():
        config = make_config(values, where, architecture.kinds[0], f"describes no {architecture.name}")
    return Pretrained(files, architecture, config)


def _misfits(report: Mapping[str, Any]) -> Iterator[str]:
    """Why weights do not fit, one sentence each, from the report of transformers."""
    missing = [key for key in sorted(report["missing_keys"]) if not key.startswith(UNNEEDED)]
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]  # a counter that training needs
    if missing:
        yield f"{len(missing)} weights are missing: {first_few(missing)}"
    shapes = sorted((key, tuple(found), tuple(expected)) for key, found, expected in report["mismatched_keys"])
    for key, found, expected in shapes[:5]:
        yield f"{key} has shape {found}, expected {expected}: the config belongs to other weights"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the reports and progress bars of transformers, whose findings are stated by those who load."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
