"""The common base of ReferFormer, MUTR and SOC, whose queries find one object in every frame of a clip.

Backbone, projection to one width, fusion with the words, deformable transformer, pixel decoder, dynamic masks. The
parts without text run once per clip (`encode`); masks are only computed for the selected query.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rvos_ensemble.adapters.networks.backbones.backbone import Backbone
from rvos_ensemble.adapters.networks.deformable import DeformableTransformer
from rvos_ensemble.adapters.networks.dynamic_masks import Kernels, parameters_per_query
from rvos_ensemble.adapters.networks.fpn import WordFeatures
from rvos_ensemble.adapters.networks.interface import Answer, Network, Text, in_steps, join
from rvos_ensemble.adapters.networks.layers import MLP, fold_batch_norm, to_map, to_tokens
from rvos_ensemble.adapters.networks.rvos.parts import ClipFeatures, Geometry, Levels, QueryOutputs, levels_of


class RVOS(Network):
    """Base of the three networks.

    Args:
        backbone: one of `backbones`; with one of our own (`*_nano`) the whole network is small.
        text_encoder: RoBERTa with its pooler.
        classes: 1, or more for weights that were trained with classes.
        layer: the decoder layer of the answer for MUTR and SOC, whose released code takes another one in evaluation
            than in training: "official" as in evaluation, "last" as in training; "auto" means last in our own small
            networks, else official.
    """

    published: ClassVar[Geometry]
    nano: ClassVar[Geometry] = Geometry(5, 2, 1, mask_channels=48, width=48, hidden=96, points=2, temporal=1)
    per_frame_scores: ClassVar[bool] = True
    answers_first: ClassVar[bool] = False  # whether the released code uses the heads of the first layer in evaluation

    def __init__(self, backbone: str, text_encoder: nn.Module, classes: int = 1, layer: str = "auto"):
        super().__init__()
        small = backbone.endswith("_nano")
        self.geometry = g = self.nano if small else self.published
        self.queries, width = g.queries, g.width
        self.layer = layer if layer != "auto" else "last" if small else "official"
        self.backbone = nn.ModuleList([Backbone(backbone)])
        self.text_encoder = text_encoder
        *_, c8, c16, c32 = self.backbone[0].channels
        projections = ((c8, 1, 1), (c16, 1, 1), (c32, 1, 1), (c32, 3, 2))  # the last one yields the map at stride 64
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, kernel, stride, kernel // 2), nn.GroupNorm(width // 8, width))
            for c, kernel, stride in projections
        )
        self.transformer = DeformableTransformer(g.layers, width, 4, g.hidden, g.points, g.encoder_layers)
        self.query_embed = nn.Embedding(self.queries, width)
        self.class_embed = nn.ModuleList(nn.Linear(width, classes) for _ in range(g.layers))
        self.bbox_embed = nn.ModuleList(MLP(width, width, width, 4) for _ in range(g.layers))
        self.transformer.decoder.bbox_embed = self.bbox_embed  # the checkpoints contain these heads under two names
        self.controller = MLP(width, width, width, parameters_per_query(g.mask_channels))

    # Differences between the networks ----------------------------------------------------------------------------

    def words(self, text: Text) -> WordFeatures:
        """Expressions, projected to the width of the network."""
        raise NotImplementedError

    def project_fine(self, x: Tensor) -> Tensor:
        """The backbone's map at stride 4 [B, C, h4, w4] as input of the pixel decoder."""
        raise NotImplementedError

    def fuse(self, tokens: Tensor, words: WordFeatures) -> Tensor:
        """Fuses tokens [B, S, C] with the words of their row; same shape."""
        raise NotImplementedError

    def start(self, features: ClipFeatures, words: WordFeatures) -> Tensor:
        """The initial state of the queries before the decoder, [E, C]."""
        raise NotImplementedError

    def conclude(self, states: Tensor, boxes: Tensor, words: WordFeatures, head: int, last: int) -> QueryOutputs:
        """The outputs of the queries.

        Args:
            states, boxes: of all layers, [E, T, L, Q, C] and [E, T, L, Q, 4].
            words: E expressions.
            head: index of the layer whose heads are used.
            last: index of the layer from which queries of the clip are computed, if any; in training equal to `head`.
        """
        raise NotImplementedError

    def masks(
        self,
        features: ClipFeatures,
        levels: Levels,
        words: WordFeatures,
        kernels: Kernels,
        centres: Tensor,
        step: int | None,
    ) -> Tensor:
        """Mask logits [E * T, K, h4, w4] of selected queries.

        Args:
            features: of the clip.
            levels: of the encoder, B = E * T.
            words: E expressions.
            kernels: [E * T, K, ...].
            centres: [E * T, K, 2] in pixels.
            step: frames per pass; None for all.
        """
        raise NotImplementedError

    def pixels(self, features: ClipFeatures, levels: Levels, words: WordFeatures) -> Tensor:
        """The pixel features of the masks, [E * T, mask_channels, h4, w4]; for training, all frames at once."""
        raise NotImplementedError

    # Common parts --------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The index of the layer whose heads are used."""
        return 0 if self.answers_first and self.layer == "official" else self.geometry.layers - 1

    def fold(self) -> RVOS:
        """Merges batch norms into convolutions and makes weights channels-last; names change, results do not."""
        fold_batch_norm(self.backbone)
        for weight in self.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return self.eval()

    def encode(
        self, frames: Tensor, frames_per_step: int | None = None, keep: slice = slice(None), clips: int = 1
    ) -> ClipFeatures:
        """See `Network.encode`.

        Args:
            frames: float [T, 3, h, w].
            frames_per_step: frames per forward pass; None for all.
            keep: the frames whose features are returned; the others are only input of a backbone that couples frames
                (A2D- and JHMDB-Sentences annotate one frame in the middle of a window).
            clips: number of clips of equal length in `frames`, one after the other.
        """
        backbone, shapes = self.backbone[0], []

        def project(*maps: Tensor) -> tuple[Tensor, Tensor]:
            levels = [p(x) for p, x in zip(self.input_proj, (*maps[1:], maps[3]), strict=True)]
            fine = self.project_fine(maps[0])
            shapes[:] = [tuple(x.shape[-2:]) for x in (fine, *levels)]
            return torch.cat([to_tokens(x) for x in levels], 1), to_tokens(fine)

        frames = frames.contiguous(memory_format=torch.channels_last)
        if backbone.couples_frames:
            maps = [x[keep] for x in backbone(frames, frames_per_step, clips)]
            tokens, fine = in_steps(project, frames_per_step, *maps)
        else:
            tokens, fine = in_steps(lambda x: project(*backbone(x)), frames_per_step, frames[keep])
        fine_size, *sizes = shapes
        return ClipFeatures(tokens, sizes, fine, fine_size, tuple(frames.shape[-2:]), clips)

    def answer(self, features, text, frames_per_step=None, masks_for="selected", query=None) -> Answer:
        # expressions are batched as long as their frames fit into one step
        """See `Network.answer`."""
        group = max(1, (frames_per_step or len(text) * len(features)) // len(features))
        answers = []
        for i in range(0, len(text), group):
            part = slice(i, i + group)
            chosen = None if query is None else query[part]
            answers.append(self._answer(features, text[part], frames_per_step, masks_for, chosen))
        return join(answers)

    def learn(self, features: ClipFeatures, text: Text) -> tuple[list[QueryOutputs], Tensor, Tensor]:
        """The outputs that training needs.

        Args:
            features: of one clip or several.
            text: E expressions, the same number for each clip, clip by clip.

        Returns:
            The outputs of each decoder layer, with its own heads; pixel features [E * T, mask_channels, h4, w4]; the
            encoder's finest map [E * T, C, h8, w8].
        """
        words = self.words(text)
        shape = (len(text), len(features))
        tokens, states, boxes = self._decode(features, words, None)
        states, boxes = states.unflatten(0, shape), boxes.unflatten(0, shape)
        outputs = [self.conclude(states, boxes, words, i, i) for i in range(self.geometry.layers)]
        levels = levels_of(tokens, features)
        return outputs, self.pixels(features, levels, words), to_map(*levels[0])

    def _answer(
        self, features: ClipFeatures, text: Text, step: int | None, masks_for: str, query: Tensor | None
    ) -> Answer:
        words = self.words(text)
        shape = (len(text), len(features))
        tokens, states, boxes = self._decode(features, words, step)
        output = self.conclude(
            states.unflatten(0, shape), boxes.unflatten(0, shape), words, self.head, states.shape[1] - 1
        )
        scores = output.logits.float().sigmoid()  # [E, T, Q, classes]
        query_scores, scores = scores.mean(1).amax(-1), scores.amax(-1)
        if query is None:
            query = query_scores.argmax(1)
        picked = query[:, None] if masks_for != "all" else torch.arange(self.queries, device=query.device)[None]
        picked = picked.expand(shape[0], -1)  # [E, K]

        def pick(x: Tensor) -> Tensor:  # [E, T, Q, C] to [E, T, K, C]
            return x.gather(2, picked[:, None, :, None].expand(-1, shape[1], -1, x.shape[3]))

        logits = None
        if masks_for != "none":
            parameters = self.controller(pick(output.states)).flatten(0, 1)
            kernels = Kernels.split(parameters, self.geometry.mask_channels)
            pixels = torch.tensor(features.size[::-1], device=tokens.device)  # (width, height)
            centres = pick(output.centres).flatten(0, 1) * pixels
            logits = self.masks(features, levels_of(tokens, features), words, kernels, centres, step)
            logits = logits.unflatten(0, shape).transpose(1, 2)  # [E, K, T, h4, w4]
        boxes, scores = pick(output.boxes).transpose(1, 2), pick(scores[..., None])[..., 0].transpose(1, 2)
        if masks_for != "all":
            boxes, scores, logits = boxes[:, 0], scores[:, 0], None if logits is None else logits[:, 0]
        return Answer(query_scores, query, boxes, scores if self.per_frame_scores else None, logits)

    def _decode(self, features: ClipFeatures, words: WordFeatures, step: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the transformer on all E * T pairs of an expression and a frame.

        Returns:
            The encoder's tokens of the first three levels [E * T, S', C], states [E * T, L, Q, C] of the queries after
            each layer, boxes [E * T, L, Q, 4].
        """
        frames, sizes, rows = len(features), features.sizes, features.rows(words)
        start, position = self.start(features, words), self.query_embed.weight
        kept = sum(h * w for h, w in sizes[:3])

        def decode(pair: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            expression = pair // frames
            tokens = self.fuse(features.tokens[rows[pair]], words[expression])
            tokens = self.transformer.encode(tokens, sizes)
            first = start[expression, None].expand(-1, self.queries, -1)
            return tokens[:, :kept], *self.transformer.decode(first, position, tokens, sizes, self.bbox_embed)

        pairs = torch.arange(len(words.states) * frames, device=features.tokens.device)
        return in_steps(decode, step, pairs)
