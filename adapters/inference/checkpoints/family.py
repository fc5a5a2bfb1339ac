"""The base of every network family: how to recognise, build, list, export and train one kind of network.

One file per family, found by its name: `adapters/inference/families/soc.py` is the family `soc`. A family of your own
is a class in a file of your own (`weights verify FILE family=my_family.py`, or `family = MyFamily` in an adapter) or an
entry point of the group `rvos_ensemble.families`. A complete one needs two methods:

    class Blur(Family):
        def recognises(self, weights):
            return "blur.weight" in weights

        def build(self, weights, variant):
            return BlurNetwork(channels=len(weights["blur.weight"]))
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.core.component import Component
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.own_code import failure, import_file
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.weights import (
    mismatches,
    read_weights,
    stranger,
    weights_file,
    write_weights,
)


@dataclass(frozen=True)
class Checkpoint:
    """A file whose weights are exactly those of a network.

    Attributes:
        path: of the file.
        family: of the network.
        variant: which network of the family it is, as `Family.variant` returns it.
        weights: by the network's parameter names; read from the file when they are used.
        parameters: number of parameters of the network, its text encoder included.
        ignored: number of other weights in the file, which inference does not need.
    """

    path: Path
    family: Family
    variant: Any
    weights: Mapping[str, Tensor]
    parameters: int
    ignored: int = 0

    def network(self, training: bool = False, **options: Any) -> nn.Module:
        """The network with its weights loaded as float32, on the CPU.

        Args:
            training: return it ready to be trained; otherwise it is prepared for inference by `Family.finish`.
            options: passed on to `Family.build`.
        """
        return self.family.load(self, training, **options)

    def export(self, path: str | Path) -> Path:
        """Writes the weights as fp16 safetensors, without those that follow from the network's sizes.

        Args:
            path: of the file to write, *.safetensors.

        Raises:
            InputError: a weight that fp16 cannot hold.
        """
        return write_weights({k: v for k, v in self.weights.items() if not self.family.derives(k)}, Path(path))

    def describe(self, path: str | Path | None = None) -> str:
        """The line that `weights verify` prints.

        Args:
            path: the file as the user named it; None for its full path.
        """
        ignored = f", {self.ignored} weights that inference does without" if self.ignored else ""
        name = f"{self.family.title(self.variant)} ({self.family.used_by})"
        return f"{path or self.path}: {name}, {self.parameters / 1e6:.1f} million parameters{ignored}, fits"


class Family(Component):
    """Everything the package needs to know about one kind of network; its `name` is the name of its file.

    Attributes:
        kind: what `train KIND=NAME` calls such a network: "segmenter", "propagator", "grounding" or "backbone".
        training: the module that trains it: a dotted path, or a .py file beside that of the family; None if it cannot
            be trained here. The module is imported when a training starts, see `trainer`.
        runs: whether a recipe can run such a network; False for parts of networks, which are only pre-trained.
        heading: lines above the table of published checkpoints; families with the same heading share one table.
    """

    kind: ClassVar[str] = "segmenter"
    training: ClassVar[str | None] = None
    runs: ClassVar[bool] = True
    heading: ClassVar[tuple[str, ...]] = ()

    def rows(self) -> list[str]:
        """The published checkpoints, one line each, as the command `weights` prints them below `heading`."""
        return []

    def links(self) -> list[str]:
        """Lines that say where the published checkpoints are; they follow the rows."""
        return []

    @property
    def is_ours(self) -> bool:
        """Whether the family is one of this package."""
        return type(self).__module__.startswith("rvos_ensemble.")

    @property
    def expects(self) -> str:
        """What a file should be, for error messages."""
        return f"a checkpoint of {self.name}"

    @property
    def used_by(self) -> str:
        """What runs the network, for messages: "adapter `soc`"."""
        return f"{'propagator' if self.kind == 'propagator' else 'adapter'} `{self.name}`"

    def recognises(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether these are weights of this family, judged by names and shapes alone."""
        return False

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> Any:
        """Which network of the family the weights belong to, such as the name of its backbone.

        Args:
            weights: of a file that `recognises` accepts.
            path: of the file, for messages.
            expected: the variant that the user asked for; None accepts any.

        Returns:
            Whatever `build` needs beside the weights.

        Raises:
            InputError: the weights belong to no known variant, or to another one than expected.
        """
        return None

    def build(self, weights: Mapping[str, Tensor], variant: Any, **options: Any) -> nn.Module:
        """The network whose sizes these weights have; its own weights may be random.

        Args:
            weights: as `select` returns them.
            variant: as `variant` returns it.
            options: of `Checkpoint.network`.
        """
        raise NotImplementedError

    def title(self, variant: Any) -> str:
        """The network's name in messages: "soc with backbone resnet50"."""
        return self.name

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights that the network uses, by its parameter names, out of all weights of a file."""
        return weights

    def finish(self, network: nn.Module) -> nn.Module:
        """Prepares a network with loaded weights for inference."""
        return network.requires_grad_(False).eval()

    def trainer(self) -> ModuleType:
        """The module named by `training`: `DEFAULTS` and the factory of the training task.

        Raises:
            InputError: the family cannot be trained, or its own .py file cannot be imported.
        """
        if self.training is None:
            raise InputError(f"{self.name}: this network cannot be trained, its family names no `training` module")
        if self.training.endswith(".py"):
            folder = Path(self.file).parent if self.file else Path()
            return import_file(str(folder / self.training), "trainer")[0]
        return importlib.import_module(self.training)

    def open(self, path: str | Path, expected: Any = None) -> Checkpoint:
        """Checks a file against the network that it should hold; only names and shapes are read.

        Args:
            path: of the file, in any layout that `read_weights` knows, or the name of weights of this package.
            expected: the variant that the user asked for; None accepts any.

        Raises:
            InputError: no file, a damaged one, another network or variant, or weights that are missing, unknown or of
                another shape; with the likely cause.
        """
        return self.check(read_weights(path, self.expects), path, expected)

    def check(self, weights: Mapping[str, Tensor], path: str | Path, expected: Any = None) -> Checkpoint:
        """The same as `open` for weights that were read already.

        Args:
            weights: all of the file.
            path: of the file.
            expected: the variant that the user asked for; None accepts any.

        Raises:
            InputError: see `open`; and an error in the code of a family that is not of this package, with its line.
        """
        with self.named_errors(path):
            return self._check(weights, path, expected)

    @contextlib.contextmanager
    def named_errors(self, path: str | Path) -> Iterator[None]:
        """Turns errors in the code of a family that is not of this package into sentences that name their line.

        Args:
            path: of the file that is opened.
        """
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if self.is_ours:
                raise
            file = self.file or type(self).build.__code__.co_filename
            raise InputError(f"{failure(error, file)} (family {type(self).__name__}, with {path})") from error

    def _check(self, weights: Mapping[str, Tensor], path: str | Path, expected: Any) -> Checkpoint:
        if not self.recognises(weights):
            raise InputError(f"{path}: {stranger(weights)}, expected {self.expects}")
        variant = self.variant(weights, Path(path), expected)
        kept = self.select(weights)
        network = self._build_on_meta(path, kept, variant)
        shapes = {k: tuple(v.shape) for k, v in self.select(network.state_dict()).items()}
        shapes = {k: shape for k, shape in shapes.items() if k in kept or not self.derives(k)}
        if problems := mismatches(kept, shapes):
            sentences = [f"{path}: recognised as {self.title(variant)}, but {p}" for p in problems]
            cause = self.cause(weights, kept, shapes)
            raise InputError([*sentences, f"{path}: likely {cause}"] if cause else sentences)
        parameters = sum(p.numel() for p in network.parameters())
        return self.checkpoint(weights_file(path), variant, kept, parameters, len(weights) - len(kept))

    def checkpoint(self, path: Path, *about: Any) -> Checkpoint:
        """The result of `open`, of a subclass of `Checkpoint` where a family needs one.

        Args:
            path: of the file.
            about: variant, weights, parameters and ignored, see `Checkpoint`.
        """
        return Checkpoint(path, self, *about)

    def derives(self, name: str) -> bool:
        """Whether a file may leave out the buffer of that name, because it follows from the network's sizes."""
        return False

    def cause(
        self, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
    ) -> str | None:
        """The likely reason why weights do not fit, as far as their names show it.

        Args:
            weights: all of the file.
            kept: those that `select` keeps.
            shapes: those of the network, by name.
        """
        return None

    def load(self, checkpoint: Checkpoint, training: bool = False, **options: Any) -> nn.Module:
        """See `Checkpoint.network`."""
        with torch.device("meta"):  # saves drawing random numbers that the file replaces
            network = self.build(checkpoint.weights, checkpoint.variant, **options)
        weights = {k: v.float() if v.is_floating_point() else v for k, v in checkpoint.weights.items()}
        network.load_state_dict(weights, strict=False, assign=True)
        self.fill(network)
        if any(x.is_meta for x in (*network.parameters(), *network.buffers())):  # computed by its constructor
            network = self.build(checkpoint.weights, checkpoint.variant, **options)
            network.load_state_dict(weights, strict=False)
        return network if training else self.finish(network)

    def fill(self, network: nn.Module) -> None:
        """Computes the buffers that no file holds, if that is faster than building the network a second time."""

    def _build_on_meta(self, path: str | Path, weights: Mapping[str, Tensor], variant: Any) -> nn.Module:
        try:
            with torch.device("meta"):
                return self.build(weights, variant)
        except Exception as error:  # sizes that no network can have, or a missing weight that says one of them
            if not self.is_ours:  # more likely a mistake in the code, whose line `check` names
                raise
            why = reason(error)
            raise InputError(
                f"{path}: recognised as {self.title(variant)}, but no network is of its sizes ({why})"
            ) from error
