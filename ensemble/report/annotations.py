"""The folder `Annotations` of a clip: encodes, writes and verifies `EXPRESSION/FRAME.png`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.masks import MaskSequence
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.engine.storage.results import Draft


def write_tree(draft: Draft, clip: Clip, prediction: Prediction) -> str:
    """Writes `Annotations/EXPRESSION/FRAME.png` of a clip.

    Returns:
        Digest of all PNGs, equal to `digest_of_tree`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, data in pictures(clip, prediction):
        draft.write(f"Annotations/{name}", data)
        digest.update(data)
    return digest.hexdigest()


def digest_of_tree(folder: Path, clip: Clip) -> str | None:
    """Digest of the PNGs of a clip; None if one is missing or the folder contains other files."""
    digest = hashlib.blake2b(digest_size=16)
    names = picture_names(clip)
    try:
        for name in names:
            digest.update((folder / name).read_bytes())
    except OSError:
        return None
    return digest.hexdigest() if sum(1 for _ in folder.rglob("*.*")) == len(names) else None


def picture_names(clip: Clip) -> list[str]:
    """`EXPRESSION/FRAME.png` of every frame of every expression, in the order in which they are written."""
    return [f"{e.id}/{frame}.png" for e in clip.expressions for frame in clip.frames]


def pictures(clip: Clip, prediction: Prediction) -> Iterator[tuple[str, bytes]]:
    """(`EXPRESSION/FRAME.png`, its bytes) for each mask; masks shared by several expressions are encoded once."""
    encoded: dict[int, list[bytes]] = {}
    for e in clip.expressions:
        sequence: MaskSequence = prediction[e.id]
        if id(sequence.masks) not in encoded:
            encoded[id(sequence.masks)] = [png.encode(sequence.mask(t)) for t in range(len(clip))]
        for frame, data in zip(clip.frames, encoded[id(sequence.masks)], strict=True):
            yield f"{e.id}/{frame}.png", data
