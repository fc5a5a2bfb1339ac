"""The store of intermediate results: one file per step and clip, under a key of everything the result depends on.

The same key means the result can be reused. Writes are atomic. An entry that does not match its own checksum counts as
absent and is computed again.

Layout of an entry: the magic line, the length of the header (8 bytes, little endian), the header (json), the frames,
and a 32-byte BLAKE2b digest of all that. Each frame is compressed by itself: binary masks as packed bits, the
low-resolution logits of a network as they are (they are upsampled when they are read), everything else as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng import zlib_ng

from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.masks import LazyMasks, Masks, MaskSequence, packed_mask
from rvos_ensemble.adapters.core.prediction import Objects, Prediction
from rvos_ensemble.adapters.inference.logits import LogitMasks

MAGIC = b"rvos-ensemble masks 3\n"
DIGEST = 32


def key_of(*parts) -> str:
    """A key made of json values; equal values give equal keys.

    >>> key_of("vote", {"threshold": 3, "inputs": ["soc"]}) == key_of("vote", {"inputs": ["soc"], "threshold": 3})
    True
    >>> key_of(1) == key_of(1.0)  # a count of votes is not a share of them
    False
    """
    return digest(json.dumps(parts, sort_keys=True))


@dataclass(frozen=True)
class Store:
    """A folder of entries, `CLIP/STEP-KEY.masks`."""

    folder: Path

    def path(self, clip: str, step: str, key: str) -> Path:
        """The file of an entry."""
        return self.folder / clip / f"{step}-{key}.masks"

    def save(self, clip: str, step: str, key: str, prediction: Prediction) -> None:
        """Writes a prediction. Expressions that share one masks object share its bytes on disk.

        In a store that its group may write, new files may be written by the group as well.
        """
        path, group = self.path(clip, step, key), self.folder.stat().st_mode & 0o070
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            if group & 0o020:
                path.parent.chmod(self.folder.stat().st_mode & 0o7777)
        atomic_write(path, encode(prediction), 0o600 | group & 0o060 if group & 0o020 else None)

    def load(self, clip: str, step: str, key: str) -> Prediction | None:
        """The prediction with that key; None where there is none, or its file is damaged.

        An entry with the same key and another name is equally valid, because users choose names freely.
        """
        path = self.path(clip, step, key)
        others = [] if path.exists() else sorted(path.parent.glob(f"*-{key}.masks"))
        for entry in (path, *others):
            try:
                return decode(entry.read_bytes())
            except (OSError, DamagedEntry):  # absent or unreadable: it is computed again
                continue
        return None


class DamagedEntry(ValueError):
    """The bytes of an entry are not those that were written."""


def encode(prediction: Prediction) -> bytes:
    """A prediction as the bytes of an entry."""
    blobs: list[bytes] = []
    offset = 0
    masks, index, sequences = [], {}, {}
    for expression, sequence in prediction.items():
        if id(sequence.masks) not in index:
            index[id(sequence.masks)] = len(masks)
            frames, upsampling = [], {}
            kept = sequence.masks
            if isinstance(kept, LogitMasks):
                upsampling = {"upsampling": {"size": kept.size, "rule": kept.rule, "inside": kept.inside}}
                kept = kept.logits
            for t in range(len(sequence)):
                raw = packed_mask(kept, t) if kept.dtype == bool else np.ascontiguousarray(kept[t])
                blobs.append(zlib_ng.compress(raw, 1))
                frames.append([offset, len(blobs[-1])])
                offset += len(blobs[-1])
            masks.append({"shape": list(kept.shape), "dtype": kept.dtype.str, "frames": frames, **upsampling})
        scores = None if sequence.scores is None else [float(s) for s in sequence.scores]
        sequences[expression] = {
            "masks": index[id(sequence.masks)],
            "kind": sequence.kind,
            "total": sequence.total,
            "scores": scores,
            "notes": dict(sequence.notes),
            "presence": None if sequence.presence is None else float(sequence.presence),
            "signals": {name: [float(v) for v in values] for name, values in sequence.signals.items()},
        }
    kind = {"objects": True} if isinstance(prediction, Objects) else {}
    header = json.dumps({"masks": masks, "sequences": sequences, **kind}).encode()
    body = b"".join([MAGIC, len(header).to_bytes(8, "little"), header, *blobs])
    return body + hashlib.blake2b(body, digest_size=DIGEST).digest()


def decode(data: bytes) -> Prediction:
    """The prediction in an entry; masks are decompressed when read.

    Raises:
        DamagedEntry: the bytes do not match their checksum.
    """
    view = memoryview(data)
    if not data.startswith(MAGIC) or hashlib.blake2b(view[:-DIGEST], digest_size=DIGEST).digest() != view[-DIGEST:]:
        raise DamagedEntry("checksum does not match")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(view[len(MAGIC) : start], "little")
    header = json.loads(data[start:end])
    blobs = view[end:-DIGEST]
    masks = [_masks(m, blobs) for m in header["masks"]]
    sequences = {
        name: MaskSequence(
            masks[s["masks"]],
            s["kind"],
            s["total"],
            None if s["scores"] is None else np.float32(s["scores"]),
            s["notes"],
            s["presence"],
            {name: np.float32(values) for name, values in s.get("signals", {}).items()},
        )
        for name, s in header["sequences"].items()
    }
    return Objects(sequences) if header.get("objects") else sequences


def _masks(about: dict[str, Any], blobs: memoryview) -> Masks:
    dtype = np.dtype(about["dtype"])
    frames = _EntryFrames(blobs, about["frames"], about["shape"], dtype)
    kept = LazyMasks(tuple(about["shape"]), dtype, frames, frames.packed if dtype.kind == "b" else None)
    upsampling = about.get("upsampling")
    if upsampling is None:
        return kept
    inside = upsampling["inside"] and tuple(upsampling["inside"])
    return LogitMasks(kept, tuple(upsampling["size"]), upsampling["rule"], inside)


@dataclass(frozen=True)
class _EntryFrames:
    """Reads frame t from the bytes of an entry."""

    blobs: memoryview
    spans: Sequence[tuple[int, int]]
    shape: Sequence[int]
    dtype: np.dtype

    def __call__(self, t: int) -> np.ndarray:
        _, height, width = self.shape
        if self.dtype == bool:
            return np.unpackbits(self.packed(t), axis=1, count=width).view(bool)
        return np.frombuffer(self._bytes(t), self.dtype).reshape(height, width)

    def packed(self, t: int) -> np.ndarray:
        """A binary mask at one bit per pixel, uint8 [H, ceil(W / 8)]."""
        return np.frombuffer(self._bytes(t), np.uint8).reshape(self.shape[1], -1)

    def _bytes(self, t: int) -> bytes:
        offset, length = self.spans[t]
        return zlib_ng.decompress(self.blobs[offset : offset + length])
