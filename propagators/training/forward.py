"""A differentiable forward pass of AOT and DeAOT over short clips, equivalent to `tracker.py`.

Every clip of the batch has one identity bank, and its first frame is the reference.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rvos_ensemble.propagators.networks.decoder import resize
from rvos_ensemble.propagators.networks.memory import Tokens
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS, FrameFeatures, VOSNetwork

IDENTITIES = MAX_OBJECTS + 1


def track(
    network: VOSNetwork,
    images: Tensor,
    labels: Tensor,
    objects: Tensor,
    own: bool,
    gap: int | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """Logits of every frame at the input size.

    Args:
        network: in training or evaluation mode.
        images: normalised, [B, T, 3, H, W]; H and W as `VOSNetwork.encode` requires.
        labels: int64 [B, T, H, W], 0 for background, 1..objects; those of later frames are used if `own` is False.
        objects: int64 [B], number of objects of each clip, at most 10.
        own: remember frames under their predicted labels in place of the true ones. As in the official code, the
            identity bank is then not trained.
        gap: frames between two additions to the long-term memory; None: only the reference frame.
        places: [B, 11], the places of background (0) and each object in the identity bank; None: 0..10.

    Returns:
        [B, T, 1 + largest number of objects, H, W], the reference frame first; very low for objects that a clip lacks.
    """
    batch, frames = images.shape[:2]
    size, most = images.shape[-2:], int(objects.max())
    if places is None:
        places = torch.arange(IDENTITIES, device=images.device).expand(batch, -1)
    encoded = network.encode(images.transpose(0, 1).flatten(0, 1))
    unused = torch.arange(most + 1, device=images.device) > objects[:, None]  # [B, 1 + most]

    def identify(labels: Tensor) -> Tensor:
        known = labels.clamp(max=MAX_OBJECTS)  # void pixels have no identity
        shuffled = places.gather(1, known.flatten(1)).view_as(labels).where(labels <= MAX_OBJECTS, -1)
        ids = network.identify(shuffled, MAX_OBJECTS)
        return ids.detach() if own else ids

    def decode(reading) -> Tensor:
        logits = network.decode(reading, MAX_OBJECTS)
        index = places[:, : most + 1, None, None].expand(-1, -1, *logits.shape[2:])
        logits = resize(logits.gather(1, index), size, network.variant.align_corners)
        return logits.masked_fill(unused[..., None, None], -1e10 if logits.dtype == torch.float32 else -1e4)

    reading, short = network.refer(_rows(encoded, 0, batch), identify(labels[:, 0]))
    logits, long, last = [decode(reading)], short, 0
    for t in range(1, frames):
        reading = network.propagate(_rows(encoded, t, batch), long, short)
        logits.append(decode(reading))
        if t == frames - 1:
            break
        short = network.remember(reading, identify(logits[t].detach().argmax(1) if own else labels[:, t]))
        if gap is not None and t - last >= gap:
            long, last = [_join(a, b) for a, b in zip(long, short, strict=True)], t
    return torch.stack(logits, 1)


def _rows(encoded: FrameFeatures, t: int, batch: int) -> FrameFeatures:
    """The features of frame t of all clips."""
    rows = slice(t * batch, (t + 1) * batch)
    query = type(encoded.query)(*(x if x is None else x[rows] for x in encoded.query))
    shortcuts = tuple(x[rows] for x in encoded.shortcuts)
    return replace(encoded, projected=encoded.projected[rows], query=query, shortcuts=shortcuts)


def _join(a: Tokens, b: Tokens) -> Tokens:
    values = (torch.cat(pair, 1) for pair in zip(a.values, b.values, strict=True))
    return Tokens(torch.cat([a.key, b.key], 1), tuple(values))
