"""Videos of a result: the output's masks over the frames, one file an expression, for slides and pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from adapters.sequence import Clip, InputError, MaskSequence

KINDS = ("mp4", "gif")
FPS = 6  # as many as Ref-YouTube-VOS annotates a second
GIF_SIDE = 480  # pixels of the longer side: a GIF keeps every frame nearly as it is
TINT = (225, 20, 140)


def encode(clip: Clip, sequence: MaskSequence, kind: str) -> bytes:
    """The frames with the masks tinted and outlined, as the bytes of a video file.

    Args:
        clip: whose frames.
        sequence: T masks of its size.
        kind: "mp4" (MPEG-4 part 2, any player, not every browser) or "gif" (at most GIF_SIDE pixels, everywhere).

    Raises:
        InputError: this OpenCV cannot write that kind.
    """
    with tempfile.TemporaryDirectory() as folder:  # OpenCV's writers know files only
        path = Path(folder) / f"overlay.{kind}"
        written = _write_gif(path, clip, sequence) if kind == "gif" else _write_mp4(path, clip, sequence)
        if not written:
            raise InputError(
                f"overlays: {kind}: OpenCV {cv2.__version__} cannot write it here; take another of {KINDS}"
            )
        return path.read_bytes()


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = TINT) -> np.ndarray:
    """The image, uint8 [H, W, 3], with the mask, bool [H, W], tinted and outlined."""
    out = image.copy()
    out[mask] = (0.55 * out[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    edges, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, edges, -1, colour, 1)
    return out


def _pictures(clip: Clip, sequence: MaskSequence) -> Iterator[np.ndarray]:
    """Overlays in OpenCV's order of colours."""
    for t in range(len(clip)):
        yield np.ascontiguousarray(overlay(clip.read(t), sequence.prob_at(t) > 127)[..., ::-1])


def _write_mp4(path: Path, clip: Clip, sequence: MaskSequence) -> bool:
    height, width = clip.size
    even = (width + width % 2, height + height % 2)  # the codec takes no other
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, even)
    if not writer.isOpened():
        return False
    for picture in _pictures(clip, sequence):
        writer.write(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
    writer.release()
    return True


def _write_gif(path: Path, clip: Clip, sequence: MaskSequence) -> bool:
    if not hasattr(cv2, "imwriteanimation"):  # OpenCV before 4.11
        return False
    scale = min(1.0, GIF_SIDE / max(clip.size))
    animation = cv2.Animation()
    animation.frames = [
        cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else p
        for p in _pictures(clip, sequence)
    ]
    animation.durations = np.full(len(clip), round(1000 / FPS), np.int32)
    return cv2.imwriteanimation(str(path), animation)
