"""UNINEXT's referring segmentation: every frame by itself, the best of 900 queries per frame and expression.

What a checkpoint holds beside it (a second backbone for tracking, embeddings for re-identification, and more) is not
built, see `IGNORED`: of ViT-Huge's 1417 M parameters 775 M remain, 3.1 GB in float32. The loader maps the file into
memory, so that its 5.7 GB are never read whole; with one frame of 480 x 854 at a time a process peaks at 3.7 GB
(ConvNeXt-Large 1.9, ResNet-50 1.3).

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval", CVPR 2023. The mask head is that
of CondInst (Tian et al., "Conditional Convolutions for Instance Segmentation", ECCV 2020).
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
from rvos_ensemble.adapters.networks.uninext.dino import DinoOutput, DinoTransformer, Layout, Sizes

BACKBONES = {
    "resnet50": Detectron2ResNet,
    "convnext_large": Detectron2ConvNeXt,
    "vit_huge": ViT,
    "convnext_nano": partial(Detectron2ConvNeXt, channels=(32, 64, 96, 128), depths=(1, 1, 2, 1)),  # ours
}
SIZES: dict[str, dict[str, int]] = {  # of the networks around them, where they are not the published ones
    "convnext_nano": {
        "channels": 64, "queries": 24, "layers": 3, "encoder_layers": 1, "hidden": 256, "inner": 128, "heads": 4,
        "points": 2, "groups": 8,
    }
}  # fmt: skip

# Beginnings of the names in an official checkpoint that this network does without.
IGNORED = (
    "detr.detr.ref_backbone.",  # sees the first frame and its mask when tracking: nearly half of the file
    "detr.detr.transformer.decoder.bbox_embed.",  # the same weights as detr.detr.bbox_embed.
    "detr.detr.transformer.decoder.class_embed.",  # the same as detr.detr.class_embed.
    "detr.detr.transformer.resizer.",  # the sentence as a query; its result is multiplied by 0
    "detr.resizer.",  # the same for training
    "detr.reid_embed_head.",  # embeddings to recognise an object in another frame
    "detr.adjust_layer.",  # single-object tracking
    "detr.sot_fuser.",
    "criterion.",  # training
)


@dataclass(frozen=True)
class UninextFeatures:
    """What `Uninext.encode` knows of a clip.

    Args:
        tokens: float32 [T, S, 256], normalised; 9 MB a frame at 480 x 854.
        layout: of the tokens.
        size: (h, w) of the frames, without padding.
    """

    tokens: Tensor
    layout: Layout
    size: tuple[int, int]


class WordAlignment(nn.Module):
    """How well queries fit a sentence: a scaled dot product, one logit per query."""

    def __init__(self, words: int, channels: int):
        super().__init__()
        self.dot_product_projection_text = nn.Linear(words, channels)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(words))
        self.bias0 = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        """Queries [B, Q, C], sentence [B, D] to logits [B, Q]."""
        sentence = F.normalize(sentence, dim=-1)
        direction = self.dot_product_projection_text(sentence / 2)[..., None]  # [B, C, 1]
        logit = (x @ direction)[..., 0] / self.log_scale.exp() + (sentence @ self.bias_lang + self.bias0)[:, None]
        return logit.clamp(-50000, 50000)


class ProposalRating(nn.Module):
    """How much a cell looks like any object; it does not ask the words."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class MaskHead(nn.Module):
    """Three levels of the encoded image to one map of 8 channels at stride 8."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.channels = out
        self.lay1 = nn.Conv2d(channels, channels // 4, 3, padding=1)
        self.lay2 = nn.Conv2d(channels // 4, self.channels, 3, padding=1)
        self.lay3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.lay4 = nn.Conv2d(channels, channels, 3, padding=1)
        self.jia_dcn = nn.Conv2d(channels, channels, 3, padding=1)  # once deformable, now a plain one

    def forward(self, x8: Tensor, x16: Tensor, x32: Tensor) -> Tensor:
        x = self.lay3(x32).relu_()
        x = self.lay4(x16 + F.interpolate(x, size=x16.shape[-2:])).relu_()
        x = self.jia_dcn(x8 + F.interpolate(x, size=x8.shape[-2:])).relu_()
        return self.lay2(self.lay1(x).relu_()).relu_()


def double(x: Tensor) -> Tensor:
    """Maps [B, Q, h, w] twice as large, CondInst's way: corners stay on corners, then all moves by half a cell.

    >>> double(torch.tensor([[[[0.0, 4.0]]]]))[0, 0]
    tensor([[0., 0., 2., 4.],
            [0., 0., 2., 4.]])
    """
    h, w = x.shape[-2:]
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    x = F.interpolate(x, size=(2 * h + 1, 2 * w + 1), mode="bilinear", align_corners=True)
    return F.pad(x, (1, 0, 1, 0), mode="replicate")[..., : 2 * h, : 2 * w]


class Uninext(Network):
    """UNINEXT as it answers expressions.

    The backbone and the projections of its maps run as autocast says; the transformer and what follows run in float32
    always, as in the official code: which 900 cells propose boxes turns on the last digits.

    Args:
        backbone: a name of `BACKBONES`, or a module that has `divisor` and `channels` and gives maps as those do.
        text_encoder: BERT without pooler.
        sizes: fields of `Sizes` that are not as published, or not as `SIZES` has them for the backbone.
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
        ratings = (WordAlignment(words, channels) for _ in range(s.layers))  # all but the last serve training
        detr.class_embed = nn.ModuleList([*ratings, ProposalRating(channels)])
        detr.bbox_embed = nn.ModuleList(MLP(channels, channels, channels, 4) for _ in range(s.layers + 1))
        detr.iou_head = nn.ModuleList(nn.Linear(channels, 1) for _ in range(s.layers))
        self.detr.mask_head = MaskHead(channels, s.mask_channels)
        self.detr.controller = MLP(channels, channels, channels, parameters_per_query(s.mask_channels))

    @property
    def language_model(self) -> nn.Module:
        return self.text_encoder.body.model

    @property
    def body(self) -> nn.Module:
        """The backbone."""
        return self.detr.detr.backbone[0].backbone

    @torch.no_grad()
    def encode(self, frames: Tensor, frames_per_step: int | None = None) -> UninextFeatures:
        """See `Network.encode`; frames of a size that the backbone does not divide are padded with zeros.

        Raises:
            InputError: the frames have fewer cells than the network has queries.
        """
        frames, layout, size = self.prepare(frames)
        return UninextFeatures(in_steps(self.tokens, frames_per_step, frames), layout, size)

    def prepare(self, frames: Tensor) -> tuple[Tensor, Layout, tuple[int, int]]:
        """Frames [T, 3, h, w] padded, the layout of their tokens, and (h, w)."""
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
        """Frames [B, 3, h, w], padded, to tokens [B, S, C]."""
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
            found = self.look(features.tokens[t], features.layout, text.states[e], text.padding[e])
            return self._read(found, features, chosen, masks_for)

        scores, best, *rest = in_steps(ask, frames_per_step, e, t, chosen)
        scores, best = scores.view(count, frames, -1), best.view(count, frames)
        boxes, logits = (x if x is None else x.unflatten(0, (count, frames)).transpose(1, 2) for x in (*rest, None)[:2])
        if masks_for == "all":  # [E, Q, T, ...]
            return Answer(scores, best, boxes, scores.transpose(1, 2), logits)
        score = scores.gather(2, best[..., None])[..., 0]
        return Answer(scores, best, boxes[:, 0], score, None if logits is None else logits[:, 0])

    def look(self, tokens: Tensor, layout: Layout, words: Tensor, padding: Tensor) -> DinoOutput:
        """What the transformer finds for B pairs: tokens [B, S, C] of a frame, words [B, L, D] and their padding."""
        detr, words = self.detr.detr, words.float()
        with torch.autocast(tokens.device.type, enabled=False):
            return detr.transformer(tokens, words, padding, layout, detr.class_embed[-1], detr.bbox_embed)

    def rate(self, found: DinoOutput, layer: int) -> tuple[Tensor, Tensor]:
        """Logits [B, Q] after a layer: whether a query is the object, and the IoU of its box with the true one."""
        detr, state = self.detr.detr, found.layers[layer].state
        layer %= len(found.layers)  # one head more rates proposals
        with torch.autocast(state.device.type, enabled=False):
            return detr.class_embed[layer](state, found.sentence), detr.iou_head[layer](state)[..., 0]

    def canvas(self, found: DinoOutput, layout: Layout) -> Tensor:
        """The map [B, channels, h8, w8] that the masks are drawn from."""
        lengths = [h * w for h, w in layout.sizes]
        levels = [to_map(x, size) for x, size in zip(found.tokens.split(lengths, 1), layout.sizes, strict=True)]
        with torch.autocast(found.tokens.device.type, enabled=False):
            return self.detr.mask_head(*levels[:3])

    def draw(self, canvas: Tensor, state: Tensor, centres: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask logits [B, K, h4, w4] of queries.

        Args:
            canvas: [B, channels, h8, w8].
            state, centres: of K queries in each, [B, K, C] and [B, K, 2].
            size: (h, w) of the frames.
        """
        h, w = size
        centres = centres * torch.tensor([w, h], device=canvas.device)
        with torch.autocast(canvas.device.type, enabled=False):
            kernels = Kernels.split(self.detr.controller(state), self.detr.mask_head.channels, offset_first=True)
        return double(dynamic_masks(canvas, kernels, centres, stride=8))

    def _read(self, found: DinoOutput, features: UninextFeatures, chosen: Tensor, masks_for: str) -> tuple[Tensor, ...]:
        """Scores [B, Q], the query [B], its box [B, 1, 4] and mask logits [B, 1, h4, w4], or those of all queries."""
        queries, (fits, overlap) = found.layers[-1], self.rate(found, -1)
        scores = (fits.sigmoid() * overlap.sigmoid()).sqrt()
        best = torch.where(chosen < 0, scores.argmax(1), chosen)

        def pick(x: Tensor) -> Tensor:
            return x if masks_for == "all" else x[torch.arange(len(x), device=x.device), best][:, None]

        if masks_for == "none":
            return scores, best, pick(queries.boxes)
        canvas = self.canvas(found, features.layout)
        masks = self.draw(canvas, pick(queries.state), pick(queries.centres), features.size)
        return scores, best, pick(queries.boxes), masks
