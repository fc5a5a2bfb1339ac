"""The network Cutie, split into what depends on the frame alone and what each sequence adds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rvos_ensemble.adapters.networks.layers import Size, fold_batch_norm, to_tokens
from rvos_ensemble.propagators.networks.cutie.affinity import FrameKeys
from rvos_ensemble.propagators.networks.cutie.blocks import FeatureFusion, grow, shrink
from rvos_ensemble.propagators.networks.cutie.encoders import KeyProjection, MaskEncoder, PixelEncoder
from rvos_ensemble.propagators.networks.cutie.mask_decoder import MaskDecoder
from rvos_ensemble.propagators.networks.cutie.object_summarizer import ObjectSummarizer
from rvos_ensemble.propagators.networks.cutie.object_transformer import ObjectTransformer
from rvos_ensemble.propagators.networks.cutie.sizes import CutieSizes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
CLAMP = 1e-7  # of probabilities whose logits are computed


@dataclass(frozen=True)
class CutieFeatures:
    """The features of a frame that do not depend on masks: computed once for any number of sequences.

    Attributes:
        size: (h, w) at stride 16.
        image: the normalised frame, [1, 3, H, W].
        pixels: projected features, [1, C, h, w].
        fused: the part of them that the pixel fuser adds, [1, E, h, w].
        skips: maps for the decoder at strides 8 and 4.
        keys: for the pixel memory.
    """

    size: Size
    image: Tensor
    pixels: Tensor
    fused: Tensor
    skips: tuple[Tensor, Tensor]
    keys: FrameKeys

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(x.nbytes for x in (self.image, self.pixels, self.fused, *self.skips, self.keys))


class PixelFuser(nn.Module):
    """Adds the sensory memory, the previous mask and the features of the frame to what the pixel memory returned."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        self.fuser = FeatureFusion(sizes.pixel, sizes.value, sizes.embed)
        self.sensory_compress = nn.Conv2d(sizes.sensory + 2, sizes.value, 1)  # the last input: masks of other objects

    def forward(self, projected: Tensor, readout: Tensor, sensory: Tensor, masks: Tensor) -> Tensor:
        """Pixel readouts of B sequences.

        Args:
            projected: features of the frame, [1, E, h, w], see `FeatureFusion.project`.
            readout: of the pixel memory, [B, V, h, w].
            sensory: the sensory memory, [B, S, h, w].
            masks: probabilities of the previous frame, [B, 1, H, W].

        Returns:
            [B, E, h, w].
        """
        small = shrink(masks, 16)
        compress = self.sensory_compress
        x = F.conv2d(torch.cat([sensory, small], 1), compress.weight[:, :-1].contiguous(), compress.bias)
        return self.fuser(projected, readout + x)


class Cutie(nn.Module):
    """Cutie for one object per sequence.

    A frame is encoded once (`encode`). `memorise` encodes it under the masks of B sequences, for their memories. On
    later frames, `segment` turns what a sequence reads from its memories into its mask.
    """

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        self.sizes = sizes
        self.pixel_encoder = PixelEncoder(sizes)
        c4, c8, c16 = self.pixel_encoder.channels
        self.pix_feat_proj = nn.Conv2d(c16, sizes.pixel, 1)
        self.key_proj = KeyProjection(c16, sizes)
        self.mask_encoder = MaskEncoder(sizes)
        self.mask_decoder = MaskDecoder(sizes, (c8, c4))
        self.pixel_fuser = PixelFuser(sizes)
        self.object_transformer = ObjectTransformer(sizes)
        self.object_summarizer = ObjectSummarizer(sizes)

    def fold(self) -> Cutie:
        """Prepares inference: merges batch norms into convolutions and stores weights channels-last.

        The names of the parameters change, the results do not.
        """
        fold_batch_norm(self)
        return self.to(memory_format=torch.channels_last).eval()

    def encode(self, image: Tensor) -> CutieFeatures:
        """Features of a padded frame, float32 [1, 3, H, W] in 0..1, with H and W multiples of 16."""
        mean, std = (torch.tensor(x, device=image.device).view(1, 3, 1, 1) for x in (MEAN, STD))
        image = ((image - mean) / std).contiguous(memory_format=torch.channels_last)
        f4, f8, f16 = self.pixel_encoder(image)
        keys = (to_tokens(x)[0].float() for x in self.key_proj(f16))
        pixels = self.pix_feat_proj(f16)
        skips, fused = self.mask_decoder.skips(f8, f4), self.pixel_fuser.fuser.project(pixels)
        return CutieFeatures(tuple(pixels.shape[-2:]), image, pixels, fused, skips, FrameKeys(*keys))

    def memorise(self, features: CutieFeatures, masks: Tensor, sensory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the memories of B sequences store about a frame.

        Args:
            features: of the frame.
            masks: probabilities [B, 1, H, W].
            sensory: the sensory memory, [B, S, h, w].

        Returns:
            (values of the pixel memory float32 [B, N, V], the next sensory memory, summaries for the object memory
            [B, Q, E + 1], to be added to it).
        """
        values, sensory = self.mask_encoder(features.image, features.pixels, masks, sensory)
        return to_tokens(values).float(), sensory, self.object_summarizer(masks, values)

    def segment(
        self,
        features: CutieFeatures,
        readout: Tensor,
        sensory: Tensor,
        masks: Tensor,
        objects: Tensor,
        update: list[bool],
    ) -> tuple[Tensor, Tensor]:
        """The masks of B sequences.

        Args:
            features: of the frame.
            readout: of the pixel memory, [B, V, h, w].
            sensory: the sensory memory, [B, S, h, w].
            masks: probabilities of the previous frame, [B, 1, H, W].
            objects: the object memory, [B, Q, E + 1].
            update: for each sequence, whether its sensory memory is updated.

        Returns:
            (probabilities float32 [B, 1, H, W], the next sensory memory).
        """
        fused = self.pixel_fuser(features.fused, readout, sensory, masks)
        logits, sensory = self.mask_decoder(self.object_transformer(fused, objects), features.skips, sensory, update)
        return grow(against_background(logits.sigmoid()), 4).sigmoid(), sensory


def against_background(p: Tensor) -> Tensor:
    """The logit of the object minus that of the background, from the probability of the object alone.

    Its sigmoid is the softmax over both: the official soft aggregation with one object.

    >>> against_background(torch.tensor([0.5, 0.9])).sigmoid()
    tensor([0.5000, 0.9878])
    """
    return _logit(p) - _logit(1 - p)


def _logit(p: Tensor) -> Tensor:
    p = p.clamp(CLAMP, 1 - CLAMP)
    return torch.log(p / (1 - p))
