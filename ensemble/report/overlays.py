"""Overlay videos: the output masks drawn over the frames, one file per expression."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence

KINDS = ("mp4", "gif")
FPS = 6  # frames that Ref-YouTube-VOS annotates per second
GIF_SIDE = 480  # pixels of the longer side; GIF compresses each frame separately, so files are large
ROOM = 1 << 20  # bytes; if they cannot be written, the disk is full
TINT = (225, 20, 140)


def encode(clip: Clip, sequence: MaskSequence, kind: str) -> bytes:
    """A video of the frames with tinted and outlined masks.

    Args:
        clip: the clip.
        sequence: its masks, T of the clip's size.
        kind: "mp4" (MPEG-4 part 2, which players support but some browsers do not) or "gif" (at most GIF_SIDE pixels,
            plays everywhere).

    Returns:
        The bytes of the video file.

    Raises:
        InputError: this OpenCV cannot write the kind, or did not write all frames.
        OSError: the system's folder for temporary files is full; its path is in the error.
    """
    write, count = (_write_gif, _gif_frames) if kind == "gif" else (_write_mp4, _mp4_frames)
    with tempfile.TemporaryDirectory(prefix="rvos_overlay_") as folder:  # OpenCV writes only to files
        path = Path(folder) / f"overlay.{kind}"
        if not write(path, clip, sequence):
            _has_room(path)
            raise InputError(f"overlays: {kind}: OpenCV {cv2.__version__} cannot write it here; use another of {KINDS}")
        if (written := count(path)) != len(clip):  # the writers do not report a full disk
            _has_room(path)
            raise InputError(
                f"overlays: {kind}: OpenCV {cv2.__version__} wrote {written} of the {len(clip)} frames of clip "
                f"{clip.name!r}; use another of {KINDS}"
            )
        return path.read_bytes()


def _has_room(path: Path) -> None:
    """Checks that ROOM bytes can be written to the folder of the file.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    probe = path.with_name("room")
    try:
        probe.write_bytes(bytes(ROOM))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    finally:
        probe.unlink(missing_ok=True)


def _mp4_frames(path: Path) -> int:
    """Number of frames that can be decoded."""
    video, count = cv2.VideoCapture(str(path)), 0
    while video.grab():
        count += 1
    video.release()
    return count


def _gif_frames(path: Path) -> int:
    """Number of frames, 0 if the file is damaged."""
    try:
        with Image.open(path) as picture:
            picture.seek(picture.n_frames - 1)
            picture.load()
            return picture.n_frames
    except (OSError, EOFError, SyntaxError, ValueError):
        return 0


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = TINT) -> np.ndarray:
    """A copy of the image, uint8 [H, W, 3], with the mask, bool [H, W], tinted and outlined."""
    out = image.copy()
    out[mask] = (0.55 * out[mask] + 0.45 * np.array(colour)).astype(np.uint8)
    edges, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, edges, -1, colour, 1)
    return out


def _pictures(clip: Clip, sequence: MaskSequence) -> Iterator[np.ndarray]:
    """Overlays of all frames, in OpenCV's BGR order."""
    for t in range(len(clip)):
        yield np.ascontiguousarray(overlay(clip.read(t), sequence.prob_at(t) > 127)[..., ::-1])


def _write_mp4(path: Path, clip: Clip, sequence: MaskSequence) -> bool:
    """Whether the file could be opened and written."""
    height, width = clip.size
    even = (width + width % 2, height + height % 2)  # the codec supports only even sizes
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, even)
    if not writer.isOpened():
        return False
    for picture in _pictures(clip, sequence):
        writer.write(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
    writer.release()
    return True


def _write_gif(path: Path, clip: Clip, sequence: MaskSequence) -> bool:
    """Whether the file was written."""
    if not hasattr(cv2, "imwriteanimation"):  # needs OpenCV 4.11
        return False
    scale = min(1.0, GIF_SIDE / max(clip.size))
    animation = cv2.Animation()
    animation.frames = [
        cv2.resize(p, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else p
        for p in _pictures(clip, sequence)
    ]
    animation.durations = np.full(len(clip), round(1000 / FPS), np.int32)
    try:
        return cv2.imwriteanimation(str(path), animation)
    except cv2.error:  # for example, the disk is full
        return False
