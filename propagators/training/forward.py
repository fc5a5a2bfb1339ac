"""AOT and DeAOT over a short clip, so that gradients flow: what `tracker.py` does, for training.

Every clip of the batch has one identity bank and the same reference, its first frame.
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
    """Logits of every frame at the input's size.

    Args:
        network: in training or evaluation mode.
        images: normalised, [B, T, 3, H, W]; H and W as `VOSNetwork.encode` wants them.
        labels: int64 [B, T, H, W], 0 for background, 1..objects; of later frames read where `own` is off.
        objects: int64 [B], how many each clip has, 10 at most.
        own: frames are remembered under the labels predicted for them, else under the true ones. As in the official
            code the identity bank is not trained then.
        gap: frames between two additions to the long-term memory; None: the reference alone.
        places: [B, 11], the place in the bank of background (0) and each object; None: their own.

    Returns:
        [B, T, 1 + most objects, H, W], the reference frame's own first; of identities that a clip has not, very low.
    """
    batch, frames = images.shape[:2]
    size, most = images.shape[-2:], int(objects.max())
    if places is None:
        places = torch.arange(IDENTITIES, device=images.device).expand(batch, -1)
    encoded = network.encode(images.transpose(0, 1).flatten(0, 1))
    unused = torch.arange(most + 1, device=images.device) > objects[:, None]  # [B, 1 + most]

    def identify(labels: Tensor) -> Tensor:
        seen = labels.clamp(max=MAX_OBJECTS)  # void is nothing at all: no identity
        shuffled = places.gather(1, seen.flatten(1)).view_as(labels).where(labels <= MAX_OBJECTS, -1)
        ids = network.identify(shuffled, MAX_OBJECTS)
        return ids.detach() if own else ids

    def decode(reading) -> Tensor:
        logits = network.decode(reading, MAX_OBJECTS)
        index = places[:, : most + 1, None, None].expand(-1, -1, *logits.shape[2:])
        logits = resize(logits.gather(1, index), size, network.variant.align_corners)
        return logits.masked_fill(unused[..., None, None], -1e10 if logits.dtype == torch.float32 else -1e4)

    reading, short = network.refer(_rows(encoded, 0, batch), identify(labels[:, 0]))
    found, long, last = [decode(reading)], short, 0
    for t in range(1, frames):
        reading = network.propagate(_rows(encoded, t, batch), long, short)
        found.append(decode(reading))
        if t == frames - 1:
            break
        short = network.remember(reading, identify(found[t].detach().argmax(1) if own else labels[:, t]))
        if gap is not None and t - last >= gap:
            long, last = [_join(a, b) for a, b in zip(long, short, strict=True)], t
    return torch.stack(found, 1)


def _rows(encoded: FrameFeatures, t: int, batch: int) -> FrameFeatures:
    """Frame t of all clips."""
    rows = slice(t * batch, (t + 1) * batch)
    head = type(encoded.head)(*(x if x is None else x[rows] for x in encoded.head))
    shortcuts = tuple(x[rows] for x in encoded.shortcuts)
    return replace(encoded, projected=encoded.projected[rows], head=head, shortcuts=shortcuts)


def _join(a: Tokens, b: Tokens) -> Tokens:
    values = (torch.cat(pair, 1) for pair in zip(a.values, b.values, strict=True))
    return Tokens(torch.cat([a.key, b.key], 1), tuple(values))
