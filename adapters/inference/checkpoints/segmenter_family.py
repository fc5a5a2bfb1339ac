"""The base of the families of referring segmentation networks: a backbone, a language model, masks per expression.

Its networks derive from `adapters.networks.interface.Network`; an adapter that derives from `NetworkAdapter` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.checkpoints.backbone_shapes import BACKBONES, Shapes, recognise_backbone
from rvos_ensemble.adapters.inference.checkpoints.family import Checkpoint, Family
from rvos_ensemble.adapters.inference.checkpoints.weights import read_note, shape_of
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.interface import Network

UNUSED = (  # endings of names: counters of a profiler, and a buffer that transformers kept before 4.31
    "total_params",
    "total_ops",
    ".position_ids",
)
DERIVED = ".relative_position_index"  # of Swin: megabytes that follow from the window size, so a file may omit them


class PublishedSegmenter(NamedTuple):
    """One published checkpoint; J&F and mAP as its authors report them, None where they report none."""

    backbone: str
    trained: str  # on which data, or the name of the file
    youtube: float | None = None
    davis: float | None = None
    a2d: float | None = None  # mAP


@dataclass(frozen=True)
class SegmenterCheckpoint(Checkpoint):
    """A checkpoint of a referring segmentation network; its `variant` is the name of the backbone.

    Attributes:
        layer: the decoder layer whose output was trained as the answer, where the file says so; `auto` means this one.
    """

    layer: str | None = None

    @property
    def backbone(self) -> str:
        """Name of the backbone, as the setting `backbone` of the adapters has it."""
        return self.variant

    @property
    def small(self) -> bool:
        """Whether it is one of our own small networks, which know only the words of `shapes`."""
        return self.backbone.endswith("_nano")

    @property
    def language(self) -> text.Language:
        """Of its text encoder."""
        return self.family.language

    @property
    def vocabulary(self) -> int:
        """Number of tokens that its text encoder knows."""
        return len(self.weights[f"{self.family.language_prefix}{text.WORDS}"])

    def network(self, layer: str | None = None, training: bool = False) -> Network:
        """The network with its weights loaded, on the CPU.

        Args:
            layer: "official", "last" or "auto", for the models that have this choice.
            training: return it ready to be trained; otherwise it is folded for inference.
        """
        if layer == "auto" and self.layer:
            layer = self.layer
        return self.family.load(self, training, **({} if layer is None else {"layer": layer}))


class SegmenterFamily(Family):
    """One referring segmentation model with all its backbones.

    Attributes:
        network_class: derives from `Network`.
        backbones: the shapes by which the backbone of a checkpoint is recognised.
        backbone_prefix, language_prefix: beginnings of the names of the weights of the backbone and text encoder.
        language: of the text encoder.
        unused: beginnings of the names of weights in official files that inference does not need.
        renamed: (old, new) beginnings of the names of weights that early uploads call by the old name.
        published: checkpoints on the web.
        page: the web page with their links, and what the files are.
    """

    network_class: ClassVar[type[Network]]
    backbones: ClassVar[Shapes] = BACKBONES
    backbone_prefix: ClassVar[str] = "backbone.0.body."
    language_prefix: ClassVar[str] = "text_encoder."
    language: ClassVar[text.Language] = text.ROBERTA
    unused: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[tuple[str, str] | None] = None
    published: ClassVar[Sequence[PublishedSegmenter]] = ()
    page: ClassVar[tuple[str, str] | None] = None

    heading = (
        "models: `sources.NAME.adapter=MODEL sources.NAME.weights=FILE`; J&F and mAP as the authors report them",
        f"  {'model':12} {'backbone':18} {'trained on, or as':27} {'RYTVOS':>6} {'RDAVIS':>6} {'A2D':>6}",
    )

    def rows(self) -> list[str]:
        """One line per published checkpoint."""
        lines = []
        for p in self.published:
            figures = " ".join(f"{'-' if n is None else format(n, '.1f'):>6}" for n in (p.youtube, p.davis, p.a2d))
            lines.append(f"  {self.name:12} {p.backbone:18} {p.trained:27} {figures}")
        return lines

    def links(self) -> list[str]:
        """The page of the published checkpoints, and what the files there are."""
        return [] if self.page is None else [f"  {self.name}: {self.page[0]}", f"    {self.page[1]}"]

    def title(self, variant: str) -> str:
        """See `Family.title`."""
        return f"{self.name} with backbone {variant}"

    def variant(self, weights: Mapping[str, Tensor], path: Path, expected: str | None = None) -> str:
        """The name of the backbone, see `Family.variant`."""
        backbone = recognise_backbone(weights, self.backbone_prefix, self.backbones)
        if backbone is None:
            names = ", ".join(self.backbones)
            raise InputError(f"{path}: weights of {self.name} with a backbone that is none of {names}")
        if expected not in (None, backbone):
            raise InputError(f"{path}: holds weights of {self.name} with backbone {backbone}, expected {expected}")
        if f"{self.language_prefix}{text.WORDS}" not in weights:
            raise InputError(f"{path}: weights of {self.name} without its text encoder ({self.language_prefix}*)")
        return backbone

    def select(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `Family.select`."""
        if self.renamed:
            old, new = self.renamed
            weights = {new + k.removeprefix(old) if k.startswith(old) else k: v for k, v in weights.items()}
        return {k: v for k, v in weights.items() if not k.endswith(UNUSED) and not k.startswith(self.unused)}

    def derives(self, name: str) -> bool:
        """See `Family.derives`."""
        return name.endswith(DERIVED)

    def build(self, weights: Mapping[str, Tensor], variant: str, **options: Any) -> Network:
        """The network, with a language model and class heads of the sizes that the weights have."""
        if shape := shape_of(weights, "class_embed.0.weight"):
            options["classes"] = shape[0]
        return self.network_class(variant, text.like(weights, self.language_prefix, self.language), **options)

    def checkpoint(self, path: Path, *about: Any) -> SegmenterCheckpoint:
        """See `Family.checkpoint`."""
        return SegmenterCheckpoint(path, self, *about, layer=read_note(path, "layer"))

    def fill(self, network: Network) -> None:
        """See `Family.fill`."""
        text.fill_buffers(network.language_model)

    def finish(self, network: Network) -> Network:
        """See `Family.finish`."""
        return network.requires_grad_(False).fold()

    def cause(
        self, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
    ) -> str:
        """See `Family.cause`."""
        wrong = list(kept.keys() ^ shapes.keys())
        wrong += [k for k in kept.keys() & shapes.keys() if tuple(kept[k].shape) != shapes[k]]
        if "bbox_embed.layers.0.weight" in weights:
            return "a model trained without --with_box_refine, which all published ones are trained with"
        if any("rel_pos" in k for k in wrong):
            return "a ConvMAE trained with another --max_size than the published 640"
        if all(k.startswith(self.backbone_prefix) for k in wrong):
            return "a backbone of another size than those published"
        if all(k.startswith(self.language_prefix) for k in wrong):
            return f"another text encoder than {self.language.name}"
        if not kept.keys() - shapes.keys():
            return "a file that was saved in part"
        return "a model of another version of the code"


def has(weights: Mapping[str, Tensor], *beginnings: str) -> bool:
    """Whether the name of any weight starts like this."""
    return any(key.startswith(beginnings) for key in weights)
