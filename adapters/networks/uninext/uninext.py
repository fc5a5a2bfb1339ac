"""UNINEXT for referring segmentation: every frame on its own, the best of 900 queries per frame and expression.

The parts of a checkpoint that this task does not need (a second backbone for tracking, embeddings for
re-identification, and more) are not built, see `UNINEXTFamily.unused`: of ViT-Huge's 1417 M parameters 775 M remain,
3.1 GB in float32. The loader maps the file into memory, so that its 5.7 GB are never read completely; with one frame of
480 x 854 at a time a process peaks at 3.7 GB (ConvNeXt-Large 1.9, ResNet-50 1.3).

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval", CVPR 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.networks.backbones.convnext import Detectron2ConvNeXt
from rvos_ensemble.adapters.networks.backbones.detectron2_resnet import Detectron2ResNet
from rvos_ensemble.adapters.networks.backbones.vit import ViT
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, dynamic_masks, parameters_per_query
from rvos_ensemble.adapters.networks.interface import Answer, Network, Text, in_steps
from rvos_ensemble.adapters.networks.layers import MLP, to_map, to_tokens
from rvos_ensemble.adapters.networks.uninext.dino import DinoOutput, DinoTransformer, Sizes
from rvos_ensemble.adapters.networks.uninext.heads import MaskHead, ProposalRating, WordAlignment, double
from rvos_ensemble.adapters.networks.uninext.layout import Layout

BACKBONES = {  # of Detectron2
    "resnet50": Detectron2ResNet,
    "convnext_large": Detectron2ConvNeXt,
    "vit_huge": ViT,
    "convnext_nano": partial(Detectron2ConvNeXt, channels=(32, 64, 96, 128), depths=(1, 1, 2, 1)),  # ours
}
SIZES: dict[str, dict[str, int]] = {  # of the network around a backbone, where they differ from the published ones
    "convnext_nano": {
        "channels": 64, "queries": 24, "layers": 3, "encoder_layers": 1, "hidden": 256, "inner": 128, "heads": 4,
        "points": 2, "groups": 8,
    }
}  # fmt: skip


@dataclass(frozen=True)
class UninextFeatures:
    """The text-independent features of a clip, as `Uninext.encode` returns them.

    Args:
        tokens: float32 [T, S, C], normalised; 9 MB per frame at 480 x 854 and C = 256.
        layout: of the tokens.
        size: (h, w) of the frames, without padding.
    """

    tokens: Tensor
    layout: Layout
    size: tuple[int, int]


class Uninext(Network):
    """UNINEXT without the parts for other tasks.

    The backbone and the projections of its maps follow autocast; the transformer and everything after it always run in
    float32, as in the official code, because the choice of the 900 cells that propose boxes depends on the last digits.

    Args:
        backbone: a name in `BACKBONES`, or a module with their attributes `divisor` and `channels` and their outputs.
        text_encoder: BERT without pooler.
        sizes: fields of `Sizes` that differ from the published values, and from those of `SIZES` for the backbone.
    """

    backbones = tuple(BACKBONES)

    def __init__(self, backbone: str | nn.Module, text_encoder: nn.Module, **sizes: int):
        super().__init__()
        named = isinstance(backbone, str)
        body = BACKBONES[backbone]() if named else backbone
        s = Sizes(**{**(SIZES.get(backbone, {}) if named else {}), **sizes})
        words, channels = text_encoder.config.hidden_size, s.channels
        self.text_encoder = nn.Module()
        self.text_encoder.body = nn.Module()
        self.text_encoder.body.model = text_encoder
        self.detr = nn.Module()
        self.detr.detr = detr = nn.Module()
        detr.backbone = nn.ModuleList([nn.Module()])
        detr.backbone[0].backbone = body
        detr.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, channels, kernel, stride, padding=kernel // 2), nn.GroupNorm(s.groups, channels))
            for c, kernel, stride in zip((*body.channels, body.channels[2]), (1, 1, 1, 3), (1, 1, 1, 2), strict=True)
        )
        detr.transformer = DinoTransformer(words, s)
        ratings = (
            WordAlignment(words, channels) for _ in range(s.layers)
        )  # all but the last are only used in training
        detr.class_embed = nn.ModuleList([*ratings, ProposalRating(channels)])
        detr.bbox_embed = nn.ModuleList(MLP(channels, channels, channels, 4) for _ in range(s.layers + 1))
        detr.iou_head = nn.ModuleList(nn.Linear(channels, 1) for _ in range(s.layers))
        self.detr.mask_head = MaskHead(channels, s.mask_channels)
        self.detr.controller = MLP(channels, channels, channels, parameters_per_query(s.mask_channels))

    @property
    def language_model(self) -> nn.Module:
        """See `Network.language_model`."""
        return self.text_encoder.body.model

    @property
    def body(self) -> nn.Module:
        """The backbone."""
        return self.detr.detr.backbone[0].backbone

    @torch.no_grad()
    def encode(self, frames: Tensor, frames_per_step: int | None = None) -> UninextFeatures:
        """See `Network.encode`; frames whose size is no multiple of the backbone's divisor are padded with zeros.

        Raises:
            InputError: the frames have fewer cells than the network has queries.
        """
        frames, layout, size = self.prepare(frames)
        return UninextFeatures(in_steps(self.tokens, frames_per_step, frames), layout, size)

    def prepare(self, frames: Tensor) -> tuple[Tensor, Layout, tuple[int, int]]:
        """Frames [T, 3, h, w] with padding, the layout of their tokens, and (h, w).

        Raises:
            InputError: the frames have fewer cells than the network has queries.
        """
        h, w = frames.shape[2:]
        divisor = self.body.divisor
        frames = F.pad(frames, (0, -w % divisor, 0, -h % divisor))
        layout = self._layout((h, w), frames)
        queries = self.detr.detr.transformer.tgt_embed.num_embeddings
        if len(layout.centre) < queries:
            raise InputError(
                f"frames of {h} x {w} pixels give UNINEXT {len(layout.centre)} cells to choose {queries} queries from, "
                "expected larger ones: the official short side is 480"
            )
        return frames, layout, (h, w)

    def _layout(self, size: tuple[int, int], frames: Tensor) -> Layout:
        h, w = size
        full_h, full_w = frames.shape[2:]
        image = torch.zeros(1, 1, full_h, full_w, device=frames.device)
        image[..., :h, :w] = 1
        sizes = [(-(-full_h // stride), -(-full_w // stride)) for stride in (8, 16, 32)]
        masks = [F.interpolate(image, size=s) for s in sizes]  # nearest
        half = tuple((n + 1) // 2 for n in sizes[2])
        masks.append(F.interpolate(masks[0], size=half))
        return Layout.of([mask[0, 0].bool() for mask in masks], self.detr.detr.transformer.level_embed.shape[1])

    def tokens(self, frames: Tensor) -> Tensor:
        """Frames [B, 3, h, w], with padding, to tokens [B, S, C]."""
        detr = self.detr.detr
        maps = self.body(frames)
        maps = [project(x) for project, x in zip(detr.input_proj, [*maps, maps[2]], strict=True)]
        tokens = torch.cat([to_tokens(x) for x in maps], 1).float()
        with torch.autocast(frames.device.type, enabled=False):
            return detr.transformer.fusion.layer_norm_v(tokens)

    @torch.no_grad()
    def answer(
        self,
        features: UninextFeatures,
        text: Text,
        frames_per_step: int | None = None,
        masks_for: Literal["selected", "all", "none"] = "selected",
        query: Tensor | None = None,
    ) -> Answer:
        """See `Network.answer`. Every frame chooses its own query; `query` may be int64 [E] or [E, T]."""
        count, frames = len(text), len(features.tokens)
        e, t = torch.cartesian_prod(torch.arange(count), torch.arange(frames)).to(features.tokens.device).unbind(1)
        chosen = torch.full_like(e, -1) if query is None else query.view(count, -1).expand(-1, frames).flatten()

        def ask(e: Tensor, t: Tensor, chosen: Tensor) -> tuple[Tensor, ...]:
            output = self.decode(features.tokens[t], features.layout, text.states[e], text.padding[e])
            return self._read(output, features, chosen, masks_for)

        scores, best, *rest = in_steps(ask, frames_per_step, e, t, chosen)
        scores, best = scores.view(count, frames, -1), best.view(count, frames)
        boxes, logits = (x if x is None else x.unflatten(0, (count, frames)).transpose(1, 2) for x in (*rest, None)[:2])
        if masks_for == "all":  # [E, Q, T, ...]
            return Answer(scores, best, boxes, scores.transpose(1, 2), logits)
        score = scores.gather(2, best[..., None])[..., 0]
        return Answer(scores, best, boxes[:, 0], score, None if logits is None else logits[:, 0])

    def decode(self, tokens: Tensor, layout: Layout, words: Tensor, padding: Tensor) -> DinoOutput:
        """The transformer's output for B pairs: tokens [B, S, C] of a frame, words [B, L, D], padding [B, L]."""
        detr, words = self.detr.detr, words.float()
        with torch.autocast(tokens.device.type, enabled=False):
            return detr.transformer(tokens, words, padding, layout, detr.class_embed[-1], detr.bbox_embed)

    def rate(self, output: DinoOutput, layer: int) -> tuple[Tensor, Tensor]:
        """Logits [B, Q] after a layer: whether a query is the object, and the IoU of its box with the true box."""
        detr, state = self.detr.detr, output.layers[layer].state
        layer %= len(output.layers)  # the last of the heads rates proposals
        with torch.autocast(state.device.type, enabled=False):
            return detr.class_embed[layer](state, output.sentence), detr.iou_head[layer](state)[..., 0]

    def mask_features(self, output: DinoOutput, layout: Layout) -> Tensor:
        """The map [B, channels, h8, w8] from which all masks are computed."""
        lengths = [h * w for h, w in layout.sizes]
        levels = [to_map(x, size) for x, size in zip(output.tokens.split(lengths, 1), layout.sizes, strict=True)]
        with torch.autocast(output.tokens.device.type, enabled=False):
            return self.detr.mask_head(*levels[:3])

    def mask_logits(self, features: Tensor, state: Tensor, centres: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask logits [B, K, h4, w4] of queries.

        Args:
            features: [B, channels, h8, w8].
            state, centres: of K queries in each, [B, K, C] and [B, K, 2].
            size: (h, w) of the frames.
        """
        h, w = size
        centres = centres * torch.tensor([w, h], device=features.device)
        with torch.autocast(features.device.type, enabled=False):
            kernels = Kernels.split(self.detr.controller(state), self.detr.mask_head.channels, offset_first=True)
        return double(dynamic_masks(features, kernels, centres, stride=8))

    def _read(
        self, output: DinoOutput, features: UninextFeatures, chosen: Tensor, masks_for: str
    ) -> tuple[Tensor, ...]:
        """Scores [B, Q], the query [B], its box [B, 1, 4] and mask logits [B, 1, h4, w4], or those of all queries."""
        queries, (fits, overlap) = output.layers[-1], self.rate(output, -1)
        scores = (fits.sigmoid() * overlap.sigmoid()).sqrt()
        best = torch.where(chosen < 0, scores.argmax(1), chosen)

        def pick(x: Tensor) -> Tensor:
            return x if masks_for == "all" else x[torch.arange(len(x), device=x.device), best][:, None]

        if masks_for == "none":
            return scores, best, pick(queries.boxes)
        mask_features = self.mask_features(output, features.layout)
        masks = self.mask_logits(mask_features, pick(queries.state), pick(queries.centres), features.size)
        return scores, best, pick(queries.boxes), masks
