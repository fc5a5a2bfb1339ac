"""A SAM network of transformers with the constants that its inference needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from rvos_ensemble.propagators.inference.sam.rotation import rotation


@dataclass(frozen=True)
class FrameFeatures:
    """What depends on the image alone; all sequences and both sweeps share it.

    Attributes:
        fine: [1, C / 8, 4h, 4w], for the mask decoder.
        medium: [1, C / 4, 2h, 2w], for the mask decoder.
        top: [1, C, h, w].
        queries: [1, N, C] with N = h w, after the self-attention of the first layer of the memory attention.
    """

    fine: Tensor
    medium: Tensor
    top: Tensor
    queries: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of all maps."""
        return sum(x.nbytes for x in (self.fine, self.medium, self.top, self.queries))


@dataclass(frozen=True)
class Constants:
    """What depends on the network alone.

    Attributes:
        query_rotation: complex64 [N, D / 2], rotary position encoding of the image; D is the width of a head.
        key_rotation: complex64 [n, D / 2], of the n tokens of a memory; 1 where a token has no place in the image.
        memory_position: [n, 64], position encoding of the tokens of a memory.
        image_position: [1, C, h, w], position encoding of the mask decoder.
        no_points: [1, 1, 2, C], embedding of "no point" for the mask decoder.
        no_mask: [1, C, h, w], embedding of "no mask" for the mask decoder.
    """

    query_rotation: Tensor
    key_rotation: Tensor
    memory_position: Tensor
    image_position: Tensor
    no_points: Tensor
    no_mask: Tensor


class SamNetwork:
    """A network of SAM 2, EdgeTAM or SAM 3's tracker.

    Args:
        model: Sam2VideoModel, EdgeTamVideoModel or Sam3TrackerVideoModel in eval mode.
        kind: "sam2", "edgetam" or "sam3".
    """

    def __init__(self, model: nn.Module, kind: str):
        self.model, self.kind, self.config = model, kind, model.config
        self.image_size: int = model.config.image_size
        self.grid: tuple[int, int] = tuple(model.backbone_feature_sizes[-1])  # (h, w)
        self.mask_size: int = 4 * model.prompt_encoder.mask_input_size[0]  # side of the memory encoder's input
        neck = model.vision_encoder.neck
        if not isinstance(neck.position_encoding, SharedPositions):
            neck.position_encoding = SharedPositions(neck.position_encoding, self.grid)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.no_memory_embedding.device

    def to(self, device: torch.device) -> None:
        """Moves the weights to a device."""
        self.model.to(device)

    @cached_property
    def constants(self) -> Constants:
        """Computed on the device at the first use, in float32."""
        model, attention = self.model, self.model.memory_attention
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            queries = rotation(attention.rotary_emb, attention.position_ids)
            keys, positions = queries, self._positions(model.memory_encoder.position_encoding, self.grid)
            if self.kind == "edgetam":  # tokens of the whole image first, then those of a grid
                perceiver, side = model.spatial_perceiver, int(model.spatial_perceiver.num_latents_2d**0.5)
                whole = perceiver.num_latents_1d
                keys = rotation(attention.rotary_emb, attention.position_ids_k)
                keys = torch.cat([torch.ones_like(keys[:1]).expand(whole, -1), keys])
                positions = self._positions(perceiver.positional_encoding, (side, side))
                positions = torch.cat([positions.new_zeros(whole, positions.shape[1]), positions])
            points = (
                torch.zeros(1, 1, 1, 2, device=self.device),
                -torch.ones(1, 1, 1, dtype=torch.int, device=self.device),
            )
            no_points, no_mask = model.prompt_encoder(*points, input_boxes=None, input_masks=None)
            return Constants(queries, keys, positions, model.get_image_wide_positional_embeddings(), no_points, no_mask)

    def _positions(self, encoding: nn.Module, grid: tuple[int, int]) -> Tensor:
        """Sine position encoding of memory tokens on a grid, [h w, 64]."""
        shape = torch.Size((1, self.config.memory_encoder_output_channels, *grid))
        return encoding(shape, self.device, torch.float32).flatten(2)[0].T.contiguous()


class SharedPositions(nn.Module):
    """The position encoding of an image encoder, computed once.

    Only that of the smallest map is read. The encoder asks for all maps on every frame; at 1024 pixels the two larger
    ones take 80 MiB and a tenth of the time of a small encoder.

    Args:
        encoding: the module that computes it.
        grid: (h, w) of the smallest map.
    """

    def __init__(self, encoding: nn.Module, grid: tuple[int, int]):
        super().__init__()
        self.encoding, self.grid = encoding, grid
        self.kept: tuple[torch.device, torch.dtype, Tensor] | None = None

    def forward(self, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
        """[1, C, h, w]; zeros without memory of their own if (h, w) is another map."""
        if tuple(shape[-2:]) != self.grid:
            return torch.zeros((), device=device, dtype=dtype).expand(shape)
        if self.kept is None or self.kept[:2] != (device, dtype):
            self.kept = device, dtype, self.encoding(shape, device, dtype)
        return self.kept[2]
