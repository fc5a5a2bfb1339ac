"""The mask decoder, in one batch over the sequences of a frame: candidate masks, the choice among them, prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.propagators.inference.sam.network import FrameFeatures, SamNetwork

ABSENT = -1024.0  # mask logit where the object score says that there is no object
PRESENT_SCORE = 10.0  # object score logit of a mask that is given; the opposite if it is empty


@dataclass(frozen=True)
class Candidates:
    """The masks that the network proposes for each of B sequences.

    Attributes:
        logits: [B, K, 4h, 4w]; -1024 if the object is not visible.
        ious: [B, K], the IoU that the network predicts for each mask.
        tokens: [B, K, C], from which object pointers are computed.
        scores: [B], logits of the object score.
    """

    logits: Tensor
    ious: Tensor
    tokens: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Outcome:
    """What a frame yields for each of B sequences.

    Attributes:
        logits: [B, 4h, 4w], of the mask.
        ious: [B], the predicted IoU of the mask.
        pointers: [B, C], object pointers.
        scores: [B], logits of the object score.
    """

    logits: Tensor
    ious: Tensor
    pointers: Tensor
    scores: Tensor


def candidates(network: SamNetwork, features: FrameFeatures, conditioned: Tensor) -> Candidates:
    """The candidate masks of a propagated frame, from features [B, C, h, w] that are conditioned on memories."""
    c = network.config
    several = (
        c.multimask_output_in_sam
        and c.multimask_output_for_tracking
        and c.multimask_min_pt_num <= 0 <= c.multimask_max_pt_num
    )
    return _decode(network, features, conditioned, network.constants.no_mask, several)


def choose(proposed: Candidates) -> Tensor:
    """The index of the mask to continue from, int64 [B]: the one with the highest predicted IoU.

    The place for rules that prefer another candidate.
    """
    return proposed.ious.argmax(1)


def outcome(network: SamNetwork, proposed: Candidates, choice: Tensor) -> Outcome:
    """What follows from a choice, int64 [B], among the candidates."""
    rows = torch.arange(len(choice), device=choice.device)
    pointers = _pointers(network, proposed.tokens[rows, choice], proposed.scores > 0)
    return Outcome(proposed.logits[rows, choice], proposed.ious[rows, choice], pointers, proposed.scores)


def prompted(network: SamNetwork, features: FrameFeatures, masks: Tensor, official: bool) -> tuple[Tensor, Tensor]:
    """What masks that are given yield; the mask itself is not changed.

    The official code of SAM 2 (`_use_mask_as_output`), and so the training of its weights, computes the object pointer
    from the token of a single mask; transformers 5.24 from that of the best of three.

    Args:
        network: the network.
        features: of the frame.
        masks: [B, S, S], 0 or 1.
        official: as the official code does it.

    Returns:
        (object pointers [B, C], logits of the object score [B]).
    """
    model = network.model
    small = model.mask_downsample(masks[:, None])
    if small.shape[-2:] != tuple(model.prompt_encoder.mask_input_size):
        size = model.prompt_encoder.mask_input_size
        small = F.interpolate(small.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    dense = model.prompt_encoder.mask_embed(small)  # [B, C, h, w]
    top = features.top.expand(len(masks), -1, -1, -1)
    proposed = _decode(network, features, top, dense, several=not official)
    pointers = outcome(network, proposed, proposed.ious.argmax(1)).pointers
    present = masks.flatten(1).any(1)
    pointers = torch.where(present[:, None], pointers, model.no_object_pointer.to(pointers.dtype))
    return pointers, torch.where(present, PRESENT_SCORE, -PRESENT_SCORE)


def _decode(network: SamNetwork, features: FrameFeatures, image: Tensor, dense: Tensor, several: bool) -> Candidates:
    """Runs the decoder on image features [B, C, h, w] and embedded masks [B or 1, C, h, w]."""
    constants = network.constants
    logits, ious, tokens, scores = network.model.mask_decoder(
        image_embeddings=image,
        image_positional_embeddings=constants.image_position,
        sparse_prompt_embeddings=constants.no_points.expand(len(image), -1, -1, -1),
        dense_prompt_embeddings=dense,
        multimask_output=several,
        high_resolution_features=[features.fine, features.medium],
    )
    scores = scores[:, 0, 0]
    logits = torch.where((scores > 0)[:, None, None, None], logits[:, 0], ABSENT)
    return Candidates(logits, ious[:, 0], tokens[:, 0], scores)


def _pointers(network: SamNetwork, tokens: Tensor, present: Tensor) -> Tensor:
    """Object pointers [B, C] of output tokens [B, C]; a learnt vector where the object is not visible."""
    pointers = network.model.object_pointer_proj(tokens)
    return torch.where(present[:, None], pointers, network.model.no_object_pointer.to(pointers.dtype))
