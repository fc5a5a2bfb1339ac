"""AOT and DeAOT as networks: what depends on the image alone, and what each sequence adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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

MAX_OBJECTS = 10  # identities in a bank, background aside


@dataclass
class FrameFeatures:
    """All that is computed of a frame once, whatever the number of sequences.

    Batch 1 throughout; in training there are B clips, a frame of each.

    Attributes:
        size: (h, w) at stride 16.
        projected: [1, C, h, w].
        query: of the first transformer block.
        shortcuts: maps at strides 4, 8, 16 for the decoder.
        filtered: the same as several sequences read them, made when first needed; see `FPNDecoder.filter`.
    """

    size: tuple[int, int]
    projected: Tensor
    query: tuple
    shortcuts: Shortcuts
    filtered: Shortcuts | None = None

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
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
        queries: what each block needs to remember the frame once its masks are known.
        outputs: tokens [B, N, .] for the decoder.
    """

    features: FrameFeatures
    queries: list[tuple]
    outputs: tuple[Tensor, ...]


class VOSNetwork(nn.Module):
    """One variant of AOT or DeAOT."""

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
        """For inference: batch norms merged into convolutions, weights channels-last. Names change, results do not."""
        fold_batch_norm(self.encoder)
        self.decoder.fold()
        return self.to(memory_format=torch.channels_last).eval()

    def encode(self, image: Tensor) -> FrameFeatures:
        """A normalised image [1, 3, H, W], or several; H and W are 16 n + 1, or 16 n where the variant says so."""
        x4, x8, x16, last = self.encoder(image.contiguous(memory_format=torch.channels_last))
        projected = self.encoder_projector(last)
        size = tuple(projected.shape[-2:])
        query = self.LSTT.layers[0].query(to_tokens(projected), self._position(size, image.device), size)
        return FrameFeatures(size, projected, query, self.decoder.adapt(x4, x8, x16))

    def identify(self, labels: Tensor, objects: int) -> Tensor:
        """Identity embeddings.

        Args:
            labels: [B, H, W] at the input's size, 0 for background, else 1..objects.
            objects: how many there are at most; channels of others would be zero and are left out.

        Returns:
            [B, N, C].
        """
        bank = self.patch_wise_id_bank
        one_hot = labels[:, None] == torch.arange(objects + 1, device=labels.device).view(1, -1, 1, 1)
        weight = bank.weight[:, : objects + 1]
        ids = F.conv2d(one_hot.to(weight.dtype), weight, bank.bias, bank.stride, bank.padding)
        ids = to_tokens(ids)
        return ids if self.variant.family == "aot" else self.id_norm(ids)

    def propagate(self, features: FrameFeatures, long: list[ReadableMemory], short: list[Tokens]) -> Reading:
        """Reads the memories.

        Args:
            features: of the frame.
            long: long-term memory of every block.
            short: tokens of the previous frame, of every block.
        """
        return self._run(features, lambda i, query: (long[i], short[i]))

    def refer(self, features: FrameFeatures, ids: Tensor) -> tuple[Reading, list[Tokens]]:
        """A reference frame: its own memory, under the identity embedding [B, N, C].

        Returns:
            The reading, and the tokens of every block for long- and short-term memory.
        """
        tokens: list[Tokens] = []

        def own(i, query):
            tokens.append(self.LSTT.layers[i].remember(query, ids))
            return tokens[i], tokens[i]

        return self._run(features, own), tokens

    def remember(self, reading: Reading, ids: Tensor) -> list[Tokens]:
        """The tokens of every block for later frames, once the identity embedding [B, N, C] of the frame is known."""
        return [b.remember(query, ids) for b, query in zip(self.LSTT.layers, reading.queries, strict=True)]

    def decode(self, reading: Reading, objects: int) -> Tensor:
        """Logits of background and objects at stride 4, [B, objects + 1, H / 4, W / 4]."""
        features = reading.features
        tokens = reading.outputs
        if self.variant.family == "aot":
            tokens = (to_tokens(features.projected), *tokens)
        batch = len(reading.outputs[0])
        # on a CPU maps of one sequence at a time stay near its caches, and memory once taken serves the next one
        step = batch if tokens[0].is_cuda or len(features.projected) > 1 else 1
        several = batch > 1 and len(self.decoder.upsampling) > 0
        if several and features.filtered is None:
            features.filtered = self.decoder.filter(features.shortcuts)
        shortcuts = features.filtered if several else features.shortcuts
        found = []
        for i in range(0, batch, step):
            part = [x.expand(batch, -1, -1)[i : i + step] for x in tokens]
            x = to_map(torch.cat(part, 2) if len(part) > 1 else part[0], features.size)
            found.append(self.decoder(x, shortcuts, objects + 1, several))
        return torch.cat(found)

    def _run(self, features: FrameFeatures, memory_of) -> Reading:
        position = self._position(features.size, features.projected.device)
        window = local_window(features.size, features.projected.device, features.query.q.dtype)
        queries, streams = [features.query], []
        for i, block in enumerate(self.LSTT.layers):
            if i:
                queries.append(block.query(streams[-1], position, features.size))
            streams.append(block(queries[i], *memory_of(i, queries[i]), window))
        return Reading(features, queries, self.LSTT.outputs(streams))

    def _position(self, size: tuple[int, int], device: torch.device) -> Tensor:
        return _position(size, self.variant.embedding, device)


_position = lru_cache(maxsize=8)(sine_position)  # of a size, made once
