"""The base of the families sam2, edgetam and sam3: networks of transformers that track masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint, Family
from rvos_ensemble.adapters.inference.checkpoints.folder import open_folder
from rvos_ensemble.adapters.inference.checkpoints.weights import read_weights, weights_file
from rvos_ensemble.propagators.inference.sam.checkpoints.config import read_config
from rvos_ensemble.propagators.inference.sam.checkpoints.published import HEADING, PUBLISHED, rows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MEMORY = "memory_attention."  # of every network that tracks; those for images alone have none


@dataclass(frozen=True)
class SamVariant:
    """Which network of a family some weights belong to.

    Attributes:
        config: of transformers.
        title: in words.
    """

    config: PreTrainedConfig
    title: str


class SamCheckpoint(Checkpoint):
    """A folder or file with the weights of a network that tracks masks."""

    def export(self, path: str | Path) -> Path:
        """Refuses: one file would lose the config.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.path}: {self.family.name} is published as a folder with its config, which one file of weights "
            "cannot hold; use it as it is"
        )


class SamFamily(Family):
    """One kind of network, in the Hugging Face layout; a subclass may know other layouts.

    Attributes:
        model: the name of its class in transformers.
        published_as: a repository to name in messages.
    """

    kind = "propagator"
    heading = HEADING
    model: ClassVar[str]
    published_as: ClassVar[str]

    @property
    def expects(self) -> str:
        """See `Family.expects`."""
        return f"a folder in the Hugging Face layout such as {self.published_as}"

    def rows(self) -> list[str]:
        """One line per published checkpoint."""
        return rows(self.name) if self.name in PUBLISHED else []

    def open(self, path: str | Path, expected: Any = None) -> Checkpoint:
        """See `Family.open`; a folder is accepted as well."""
        return self.check(read_weights(path, self.expects, folders=True), path, expected)

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: Any = None) -> SamVariant:
        """The sizes of the network, from the config beside the weights.

        Raises:
            InputError: weights of a network for images alone, or no folder with a config.
        """
        if not any(name.startswith(MEMORY) for name in weights):
            raise InputError(
                f"{path}: weights of a {self.name} for single images, without a memory ({MEMORY}*); {self._take()}"
            )
        path = weights_file(path)
        if not path.is_dir():
            raise InputError(
                f"{path}: weights of {self.name} in the Hugging Face layout without their config; name the folder that "
                f"holds both: weights={path.parent}"
            )
        config = read_config(open_folder(path).config, self.name)
        return SamVariant(config, self.describe(config))

    def describe(self, config: PreTrainedConfig) -> str:
        """The name of a network in words."""
        return self.name

    def title(self, variant: SamVariant) -> str:
        """See `Family.title`."""
        return variant.title

    def build(self, weights: Mapping[str, Tensor], variant: SamVariant, **options: Any) -> nn.Module:
        """The network of transformers; its weights are not initialised."""
        import transformers  # here, because it takes a second
        from transformers.initialization import no_init_weights

        with no_init_weights():
            return getattr(transformers, self.model)(variant.config)

    def fill(self, network: nn.Module) -> None:
        """Computes the buffers that follow from the config, which a network on the device meta has not computed."""
        computed = dict(self.build({}, SamVariant(network.config, "")).named_buffers())
        for name, buffer in list(network.named_buffers()):
            if buffer.is_meta:
                part, _, last = name.rpartition(".")
                setattr(network.get_submodule(part), last, computed[name])

    def checkpoint(self, path: Path, *about: Any) -> SamCheckpoint:
        """See `Family.checkpoint`."""
        return SamCheckpoint(path, self, *about)

    def cause(
        self, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
    ) -> str | None:
        """See `Family.cause`."""
        if not kept.keys() - shapes.keys() and all(tuple(kept[k].shape) == shapes[k] for k in kept):
            return "a file that was saved in part"
        return "a config.json that belongs to other weights"

    def _take(self) -> str:
        return f"take {self.published_as}"
