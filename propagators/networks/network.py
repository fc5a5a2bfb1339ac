"""The networks AOT and DeAOT, split into what depends on the image alone and what each sequence adds.

Shapes: B sequences (identity banks), N = h * w tokens at stride 16, C channels of the transformer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import fold_batch_norm, to_map, to_tokens
from rvos_ensemble.propagators.networks.attention import local_window
from rvos_ensemble.propagators.networks.decoder import FPNDecoder, Shortcuts
from rvos_ensemble.propagators.networks.encoders import ENCODERS
from rvos_ensemble.propagators.networks.gpm import DualBranchGPM
from rvos_ensemble.propagators.networks.layers import sine_position
from rvos_ensemble.propagators.networks.lstt import LSTT
from rvos_ensemble.propagators.networks.memory import ReadableMemory, Tokens
from rvos_ensemble.propagators.networks.variants import VOSVariant

MAX_OBJECTS = 10  # identities in a bank, without the background


@dataclass
class FrameFeatures:
    """The features of a frame that do not depend on masks: computed once for any number of sequences.

    The batch size is 1; in training it is the number of clips, with one frame of each.

    Attributes:
        size: (h, w) at stride 16.
        projected: [1, C, h, w], the last map of the encoder.
        query: the `LSTTQuery` or `GPMQuery` of the first transformer block.
        shortcuts: maps for the decoder at strides 4, 8, 16.
        filtered: the shortcuts for several sequences, computed when first needed; see `FPNDecoder.filter`.
    """

    size: tuple[int, int]
    projected: Tensor
    query: tuple
    shortcuts: Shortcuts
    filtered: Shortcuts | None = None

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        tensors = (
            self.projected,
            *self.shortcuts,
            *(self.filtered or ())[:2],
            *(x for x in self.query if x is not None),
        )
        return sum(x.nbytes for x in tensors)


@dataclass
class Reading:
    """A frame after the transformer, for B sequences.

    Attributes:
        features: of the frame.
        queries: the query of each block, from which it computes keys and values once the masks are known.
        outputs: tokens for the decoder, each [B, N, .].
    """

    features: FrameFeatures
    queries: list[tuple]
    outputs: tuple[Tensor, ...]


class VOSNetwork(nn.Module):
    """One variant of AOT or DeAOT.

    A frame is encoded once (`encode`). A reference frame is remembered under its labels (`identify`, `refer`). On later
    frames each sequence reads its memories (`propagate`), is decoded to logits (`decode`), and the frame is remembered
    under the resulting labels (`identify`, `remember`).
    """

    def __init__(self, variant: VOSVariant):
        super().__init__()
        self.variant = variant
        c, aot = variant.embedding, variant.family == "aot"
        self.encoder = ENCODERS[variant.encoder]()
        self.encoder_projector = nn.Conv2d(variant.channels[-1], c, 1)
        self.LSTT = LSTT(c, variant.layers, variant.heads) if aot else DualBranchGPM(c, variant.layers)
        c_in = c * (variant.layers + 1) if aot else 2 * c
        self.decoder = FPNDecoder(c_in, MAX_OBJECTS + 1, variant.channels, c, variant.align_corners)
        kernel, padding = (17, 8) if variant.align_corners else (16, 0)
        self.patch_wise_id_bank = nn.Conv2d(MAX_OBJECTS + 1, c, kernel, 16, padding)
        if not aot:
            self.id_norm = nn.LayerNorm(c)

    def fold(self) -> VOSNetwork:
        """Prepares inference: merges batch norms into convolutions and stores weights channels-last.

        The names of the parameters change, the results do not.
        """
        fold_batch_norm(self.encoder)
        self.decoder.fold()
        return self.to(memory_format=torch.channels_last).eval()

    def lower(self, dtype: torch.dtype) -> VOSNetwork:
        """Prepares inference in bfloat16 or float16, after `fold`: weights, activations and memories have that type.

        The weights are converted once, so that no operator converts them. The convolution of the logits stays in
        float32, and so does MobileNetV2, which causes five sixths of the rounding error and runs once per frame for all
        sequences. The kernels of normalisations and softmax accumulate in float32, and products do, too.
        """
        logits, encoder = copy.deepcopy(self.decoder.conv_out), copy.deepcopy(self.encoder)
        self.to(dtype)
        self.decoder.conv_out = logits
        if self.variant.encoder == "mobilenetv2":
            self.encoder = encoder
        return self

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, see `lower`."""
        return self.encoder_projector.weight.dtype

    def encode(self, image: Tensor) -> FrameFeatures:
        """Features of a normalised image [1, 3, H, W], or of several.

        H and W are 16 n + 1 if `variant.align_corners`, otherwise 16 n.
        """
        own = next(self.encoder.parameters()).dtype
        maps = self.encoder(image.to(own, memory_format=torch.channels_last))
        x4, x8, x16, last = maps if own == self.dtype else (x.to(self.dtype) for x in maps)
        projected = self.encoder_projector(last)  # [1, C, h, w]
        size = tuple(projected.shape[-2:])
        query = self.LSTT.layers[0].query(to_tokens(projected), self._position(size, image.device), size)
        return FrameFeatures(size, projected, query, self.decoder.adapt(x4, x8, x16))

    def identify(self, labels: Tensor, objects: int) -> Tensor:
        """Identity embeddings.

        Args:
            labels: [B, H, W] at the size of the input, 0 for background, otherwise 1..objects.
            objects: the largest number of objects in a bank; input channels of further identities would be zero and are
                left out.

        Returns:
            [B, N, C].
        """
        bank = self.patch_wise_id_bank
        identities = torch.arange(objects + 1, device=labels.device).view(1, -1, 1, 1)
        one_hot = labels[:, None] == identities  # [B, objects + 1, H, W]
        weight = bank.weight[:, : objects + 1]
        ids = to_tokens(F.conv2d(one_hot.to(weight.dtype), weight, bank.bias, bank.stride, bank.padding))  # [B, N, C]
        return ids if self.variant.family == "aot" else self.id_norm(ids)

    def propagate(self, features: FrameFeatures, long: list[ReadableMemory], short: list[Tokens]) -> Reading:
        """Reads the memories.

        Args:
            features: of the frame.
            long: the long-term memory of each block.
            short: the tokens of the previous frame of each block.
        """
        return self._run(features, lambda i, _: (long[i], short[i]))

    def refer(self, features: FrameFeatures, ids: Tensor) -> tuple[Reading, list[Tokens]]:
        """Reads a reference frame, which is its own memory.

        Args:
            features: of the frame.
            ids: identity embedding of its labels, [B, N, C].

        Returns:
            The reading, and the tokens of each block for the long- and short-term memory.
        """
        tokens: list[Tokens] = []

        def own(i, query):
            tokens.append(self.LSTT.layers[i].remember(query, ids))
            return tokens[i], tokens[i]

        return self._run(features, own), tokens

    def remember(self, reading: Reading, ids: Tensor) -> list[Tokens]:
        """The tokens of each block for later frames, once the identity embedding [B, N, C] of the frame is known."""
        return [b.remember(query, ids) for b, query in zip(self.LSTT.layers, reading.queries, strict=True)]

    def decode(self, reading: Reading, objects: int) -> Tensor:
        """Logits of background and objects at stride 4, float32 [B, objects + 1, H / 4, W / 4]."""
        features = reading.features
        tokens = reading.outputs
        if self.variant.family == "aot":
            tokens = (to_tokens(features.projected), *tokens)
        batch = len(reading.outputs[0])
        # on a CPU one sequence at a time: its maps stay in the caches, and the next one reuses their memory
        step = batch if tokens[0].is_cuda or len(features.projected) > 1 else 1
        several = batch > 1 and len(self.decoder.upsampling) > 0
        if several and features.filtered is None:
            features.filtered = self.decoder.filter(features.shortcuts)
        shortcuts = features.filtered if several else features.shortcuts
        logits = []
        for i in range(0, batch, step):
            part = [x.expand(batch, -1, -1)[i : i + step] for x in tokens]
            x = to_map(torch.cat(part, 2) if len(part) > 1 else part[0], features.size)  # [step, c_in, h, w]
            logits.append(self.decoder(x, shortcuts, objects + 1, several))
        return torch.cat(logits)

    def _run(self, features: FrameFeatures, memory_of: Callable[[int, Any], tuple[ReadableMemory, Tokens]]) -> Reading:
        """All blocks; `memory_of(i, query)` returns the long- and short-term memory of block i."""
        position = self._position(features.size, features.projected.device)
        window = local_window(features.size, features.projected.device, features.query.q.dtype)
        queries, streams = [features.query], []
        for i, block in enumerate(self.LSTT.layers):
            if i:
                queries.append(block.query(streams[-1], position, features.size))
            streams.append(block(queries[i], *memory_of(i, queries[i]), window))
        return Reading(features, queries, self.LSTT.outputs(streams))

    def _position(self, size: tuple[int, int], device: torch.device) -> Tensor:
        return _position(size, self.variant.embedding, device, self.dtype)


@lru_cache(maxsize=8)
def _position(size: tuple[int, int], channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`sine_position` in a type, computed once per size."""
    return sine_position(size, channels, device).to(dtype)
