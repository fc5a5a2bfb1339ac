"""Videos of a result: the output's masks over the frames, one file an expression, for slides and pages."""

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
FPS = 6  # as many as Ref-YouTube-VOS annotates a second
GIF_SIDE = 480  # pixels of the longer side: a GIF keeps every frame nearly as it is
ROOM = 1 << 20  # bytes whose lack shows that a disk is full
TINT = (225, 20, 140)


def encode(clip: Clip, sequence: MaskSequence, kind: str) -> bytes:
    """The frames with the masks tinted and outlined, as the bytes of a video file.

    Args:
        clip: whose frames.
        sequence: T masks of its size.
        kind: "mp4" (MPEG-4 part 2, any player, not every browser) or "gif" (at most GIF_SIDE pixels, everywhere).

    Raises:
        InputError: this OpenCV cannot write that kind, or not all frames.
        OSError: the system's folder for temporary files is full; its path is in the error.
    """
    write, count = (_write_gif, _gif_frames) if kind == "gif" else (_write_mp4, _mp4_frames)
    with tempfile.TemporaryDirectory(prefix="rvos_overlay_") as folder:  # OpenCV's writers know files only
        path = Path(folder) / f"overlay.{kind}"
        if not write(path, clip, sequence):
            _has_room(path)
            raise InputError(
                f"overlays: {kind}: OpenCV {cv2.__version__} cannot write it here; take another of {KINDS}"
            )
        if (written := count(path)) != len(clip):  # the writers do not say that a disk is full
            _has_room(path)
            raise InputError(
                f"overlays: {kind}: OpenCV {cv2.__version__} wrote {written} of the {len(clip)} frames of clip "
                f"{clip.name!r}; take another of {KINDS}"
            )
        return path.read_bytes()


def _has_room(path: Path) -> None:
    """That a little more can be written beside the file.

    Raises:
        OSError: there is no room, or nothing can be written.
    """
    beside = path.with_name("room")
    try:
        beside.write_bytes(bytes(ROOM))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    finally:
        beside.unlink(missing_ok=True)


def _mp4_frames(path: Path) -> int:
    video, count = cv2.VideoCapture(str(path)), 0
    while video.grab():
        count += 1
    video.release()
    return count


def _gif_frames(path: Path) -> int:
    try:
        with Image.open(path) as picture:
            picture.seek(picture.n_frames - 1)
            picture.load()
            return picture.n_frames
    except (OSError, EOFError, SyntaxError, ValueError):
        return 0


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
    try:
        return cv2.imwriteanimation(str(path), animation)
    except cv2.error:  # of a full disk, among others
        return False
