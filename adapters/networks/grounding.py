"""Which of a clip's tracklets an expression means: a Transformer over the tracklets of a frame and the words.

Source: Liang et al., "Rethinking Cross-modal Interaction from a Top-down Perspective for Referring Video Object
Segmentation", arXiv 2106.01061, eq. 4-6. No weights were published, so the parameters have names of our own.

Two things are not in the paper and off by default. `layers=0` leaves out the Transformer: a tracklet is compared with
the mean of the words (the row before it in the paper's Table 3). `points` tells the network the path of each tracklet,
without which nobody can know "the one that turns back" from its twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoint import BACKBONES
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights, shape_of
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.backbones.backbone import BODIES, Backbone
from rvos_ensemble.adapters.networks.backbones.convnext import LayerNorm2d
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import MLP

EMBEDDINGS = ("token_type_embeddings", "word_embeddings")  # of the language model, whose sizes tell its geometry
PATH = 4  # numbers a point of a path: x, y, size, seen
NARROW = "narrow"
VISUAL = (NARROW, *(name for name in BODIES if not name.startswith("video")))  # frames are seen one by one


@dataclass(frozen=True)
class Variant:
    """A network's geometry; heads follow from the widths, see `heads_of`.

    Attributes:
        visual: one of `VISUAL`.
        channels, layers: of the Transformer.
        points: of the paths.
        language: BERT or ROBERTA.
        words, text_layers, text_channels: of the language model; words are its vocabulary.
        short_side: pixels of the frames that it sees.
    """

    visual: str = "resnet101"
    channels: int = 768
    layers: int = 4
    points: int = 0
    language: text.Language = text.BERT
    words: int = 30522
    text_layers: int = 12
    text_channels: int = 768
    short_side: int = 360

    def network(self) -> Grounding:
        """With weights at random."""
        make = text.bert if self.language is text.BERT else text.roberta
        encoder = make(self.words, self.text_layers, hidden=self.text_channels)
        return Grounding(self.visual, encoder, self.channels, self.layers, self.points)


NANO = Variant(NARROW, 64, 2, 8, words=80, text_layers=2, text_channels=64, short_side=90)
VARIANTS = {
    "grounding": Variant(),  # as published
    "grounding_nano": NANO,
    "grounding_match_nano": replace(NANO, layers=0),
}


class Narrow(nn.Module):
    """Frames to one map at stride 8: four convolutions, for networks that are trained from nothing in minutes."""

    channels = (64,)

    def __init__(self):
        super().__init__()
        widths = (3, 32, 48, 64, 64)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2 if i < 3 else 1, padding=1) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norm = LayerNorm2d(widths[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """[T, 3, H, W] to [[T, 64, H / 8, W / 8]]."""
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x).relu_()
        return [self.norm(x)]


class Grounding(nn.Module):
    """Frames, masks of tracklets and words to the probability of every tracklet.

    Args:
        visual: one of `VISUAL`, of which the last map is used.
        text_encoder: BERT, or any language model of transformers.
        channels: D.
        layers: of the Transformer; 0 for none.
        points: of a tracklet's path that the network is told; 0 for none.
    """

    def __init__(
        self,
        visual: str,
        text_encoder: nn.Module,
        channels: int,
        layers: int,
        points: int,
    ):
        super().__init__()
        self.visual = Narrow() if visual == NARROW else Backbone(visual)
        self.visual_proj = nn.Linear(self.visual.channels[-1], channels)
        self.text_encoder = text_encoder
        self.text_proj = nn.Linear(text_encoder.config.hidden_size, channels)
        self.modality = nn.Embedding(2, channels)  # of tracklets, of words
        self.points = points
        self.path = MLP(PATH * points, channels, channels) if points else None
        layer = nn.TransformerEncoderLayer(channels, heads_of(channels), 4 * channels, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False) if layers else None
        self.head = MLP(channels, channels, 1)

    def map_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the visual encoder's map for frames of that size."""
        stride = 8 if isinstance(self.visual, Narrow) else 32
        return -(-size[0] // stride), -(-size[1] // stride)

    def pool(self, frames: Tensor, masks: Tensor) -> Tensor:
        """The mean feature inside each tracklet's mask (eq. 4); that of an empty mask is 0 before the projection.

        Args:
            frames: normalised, [T, 3, H, W].
            masks: [T, P, h, w] at `map_size`, the share of each cell that the tracklet covers.

        Returns:
            [T, P, D].
        """
        features = self.visual(frames)[-1]  # [T, C, h, w]
        return self.visual_proj(masked_average(features, masks))

    def words(self, rows: Sequence[Sequence[int]], language: text.Language) -> Text:
        """The words of E expressions, [E, L, D], from their token numbers."""
        found = text.encode(self.text_encoder, language, rows)
        return Text(self.text_proj(found.states), found.padding)

    def forward(self, objects: Tensor, words: Text, paths: Tensor, step: int | None = None) -> Tensor:
        """What every tracklet has to do with every expression, frame by frame (eq. 5, eq. 6 before its softmax).

        Args:
            objects: [T, P, D] of `pool`.
            words: of E expressions.
            paths: [P, points, 4] of `paths_of`; zeros say that they are not known.
            step: frames at once; None for all.

        Returns:
            Logits [E, T, P]; the softmax over P is the probability in a frame, its mean over T that in the clip.
        """
        objects = objects + self.modality.weight[0]
        if self.path is not None:
            objects = objects + self.path(paths.flatten(1))
        states = words.states + self.modality.weight[1]
        parts = objects.split(step or len(objects))
        return torch.cat([self._logits(part, states, words.padding) for part in parts], 1)

    def _logits(self, objects: Tensor, words: Tensor, padding: Tensor) -> Tensor:
        (t, p, _), e = objects.shape, len(words)
        objects = objects.expand(e, -1, -1, -1)  # [E, T, P, D]
        if self.encoder is None:
            there = (~padding)[..., None].to(words.dtype)
            sentence = (words * there).sum(1) / there.sum(1)  # [E, D]
            return self.head(objects + sentence[:, None, None]).squeeze(-1)
        tokens = torch.cat([objects, words[:, None].expand(-1, t, -1, -1)], 2).flatten(0, 1)  # [E T, P + L, D]
        hidden = torch.cat([padding.new_zeros(e, p), padding], 1)  # tracklets are all there
        tokens = self.encoder(tokens, src_key_padding_mask=hidden.repeat_interleave(t, 0))
        return self.head(tokens[:, :p]).view(e, t, p)


def masked_average(features: Tensor, masks: Tensor) -> Tensor:
    """Means of features [T, C, h, w] under masks [T, P, h, w], as [T, P, C]; zeros where a mask is empty.

    >>> masked_average(torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[1.0, 1.0]], [[0.0, 0.5]]]])).tolist()
    [[[2.0], [3.0]]]
    """
    total = torch.einsum("tchw,tphw->tpc", features, masks.to(features.dtype))
    return total / masks.flatten(2).sum(2).clamp(min=1e-6)[..., None].to(features.dtype)


def paths_of(masks: Tensor, points: int) -> Tensor:
    """Where each tracklet is at evenly spaced times: x and y in -1..1, the square root of its area in 0..1, seen.

    Args:
        masks: [T, P, h, w], shares of cells.
        points: how many; the centres of as many equal parts of the clip.

    Returns:
        [P, points, 4]; zeros where it is not seen.
    """
    t = (2 * torch.arange(points, device=masks.device) + 1) * len(masks) // (2 * points)
    masks = masks[t].float()  # [points, P, h, w]
    h, w = masks.shape[2:]
    area = masks.sum((2, 3))
    x = (masks.sum(2) * torch.linspace(-1, 1, w, device=masks.device)).sum(2) / area.clamp(min=1e-6)
    y = (masks.sum(3) * torch.linspace(-1, 1, h, device=masks.device)).sum(2) / area.clamp(min=1e-6)
    return torch.stack([x, y, (area / (h * w)).sqrt(), (area > 0).float()], 2).transpose(0, 1)


def shares(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The share of each cell of a map that a mask covers, float32 [h, w].

    Args:
        mask: bool [H, W].
        size: (h, w).
    """
    return cv2.resize(mask.view(np.uint8) * np.float32(1), size[::-1], interpolation=cv2.INTER_AREA)


def heads_of(channels: int) -> int:
    """Attention heads of that width: of 64 channels each, at least 4.

    >>> heads_of(768), heads_of(64)
    (12, 4)
    """
    return max(4, channels // 64)


def open_grounding(path: str | Path) -> tuple[Grounding, Variant]:
    """The network in a file, ready for inference, and its geometry, which its weights tell.

    Args:
        path: a checkpoint of `train grounding`, or the name of weights that come with the package.

    Raises:
        InputError: no file, a damaged one, or weights that are missing, unknown or of another shape.
    """
    weights = read_weights(path, "a checkpoint of `run_ensemble.py train grounding`")
    variant = recognise(weights)
    if variant is None:
        raise InputError(
            f"{path}: holds other weights ({', '.join(list(weights)[:3])}, ...), expected a grounding network"
        )
    try:
        with torch.device("meta"):
            network = variant.network()
    except Exception as error:  # sizes that no network can be built of
        why = reason(error)
        raise InputError(f"{path}: a grounding network, but none can be built of its sizes ({why})") from error
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    if problems := mismatches(weights, expected):
        raise InputError([f"{path}: recognised as grounding with {variant.visual}, but {p}" for p in problems])
    network.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    text.fill_buffers(network.text_encoder)
    return network.eval().requires_grad_(False), variant


def recognise(weights: Mapping[str, Tensor]) -> Variant | None:
    """The geometry of a grounding network; None where the weights are another network's."""
    words = "text_encoder.embeddings."
    visual = NARROW if "visual.layers.0.weight" in weights else None
    for name in VISUAL[1:]:
        shapes = {k: shape_of(weights, f"visual.body.{k}") or None for k in BACKBONES[name]}
        visual = name if shapes == BACKBONES[name] else visual
    marks = ("visual_proj.weight", "text_proj.weight", "modality.weight", *(f"{words}{k}.weight" for k in EMBEDDINGS))
    sizes = {key: shape_of(weights, key) for key in marks}
    if visual is None or any(len(size) != 2 for size in sizes.values()):
        return None
    layers = {k.split(".")[2] for k in weights if k.startswith("encoder.layers.")}
    text_layers = {k.split(".")[3] for k in weights if k.startswith("text_encoder.encoder.layer.")}
    path = shape_of(weights, "path.layers.0.weight")
    vocabulary, width = sizes[f"{words}word_embeddings.weight"]
    return Variant(
        visual,
        sizes["modality.weight"][1],
        len(layers),
        path[1] // PATH if len(path) == 2 else 0,
        text.BERT if sizes[f"{words}token_type_embeddings.weight"][0] == 2 else text.ROBERTA,
        vocabulary,
        len(text_layers),
        width,
        VARIANTS["grounding_nano" if visual == NARROW else "grounding"].short_side,
    )


def tokenizer_of(variant: Variant, folder: str | None) -> str | None:
    """The folder of its tokenizer: as given, else ours for our own vocabulary, else None, the cache of Hugging Face."""
    return str(variant.language.small) if folder is None and variant.words < 1000 else folder
