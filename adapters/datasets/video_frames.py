"""The frames of a video file, and whether they are as many as the file states."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from rvos_ensemble.adapters.core.errors import InputError

BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"uuid")  # the boxes of an mp4 or mov
EBML, SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")  # of mkv and webm
SLACK = 0.05  # relative error of a length that the container only estimates, with frames at irregular times


class VideoFrames:
    """The frames of a video file, read once and in order.

    Attributes:
        stated: the number of frames according to the container; None if it states nothing plausible.
        read: the number of frames decoded so far.
    """

    def __init__(self, path: Path):
        """Opens the file.

        Raises:
            InputError: OpenCV cannot open it.
        """
        self.path, self.read, self._broken = path, 0, False
        try:
            self._video = cv2.VideoCapture(str(path))
        except (cv2.error, UnicodeError) as error:
            raise InputError(f"{path}: not a video that OpenCV can read: {error}") from error
        if not self._video.isOpened():
            raise InputError(f"{path}: not a video that OpenCV can read; if it is one, it is cut off or damaged")
        stated = self._video.get(cv2.CAP_PROP_FRAME_COUNT)
        self.stated = round(stated) if 0 < stated < 2**31 else None
        self._rate = self._video.get(cv2.CAP_PROP_FPS)
        self._times: list[float] = []  # of the frames, in seconds

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, *_) -> None:
        self._video.release()

    def take(self, every: int) -> Iterator[np.ndarray]:
        """Every n-th frame, uint8 [H, W, 3] BGR."""
        while (frame := self._next(self.read % every == 0)) is not None:
            self.read += 1
            self._times.append(self._video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            if frame.size:
                yield frame

    def _next(self, wanted: bool) -> np.ndarray | None:
        """The next frame, an empty array if it is not wanted; None at the end."""
        try:
            if not self._video.grab():
                return None
            decoded, frame = self._video.retrieve() if wanted else (True, np.empty(0))
        except cv2.error:
            decoded = False
        self._broken = not decoded
        return frame if decoded else None

    def loss(self) -> str | None:
        """What is missing of the frames that the container states, after `take` has ended; None if nothing is.

        An avi, mp4 or mov states the number of frames. For others OpenCV multiplies length and rate, which is exact if
        the frames are equally spaced; otherwise frames are only known to be missing if the video ends too early.
        """
        if self._broken or (self.stated and self.read < self.stated and self._is_short(self.stated)):
            return f"{self.read} of {self.stated or 'an unknown number of'} frames could be read"
        if missing := missing_bytes(self.path):
            return (
                f"{missing:,} bytes are missing at its end, {self.read} frames could be read, the last of them in part"
            )
        return None

    def _is_short(self, stated: int) -> bool:
        if _counts(self.path) or not self._times:
            return True
        if not self._rate > 0:
            return False
        steps = np.diff(self._times) * self._rate
        regular = steps.size > 0 and np.mean(np.abs(steps - 1) < 0.1) > 0.9
        length = stated / self._rate
        return (regular and stated - self.read > 1) or self._times[-1] + 1 / self._rate < (1 - SLACK) * length


def _counts(path: Path) -> bool:
    """Whether the container counts its frames."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[4:8] in BOXES or _is_avi(head)


def missing_bytes(path: Path) -> int:
    """How many bytes an avi, mp4, mov, mkv or webm lacks; 0 if it is complete, or has another format."""
    size, at = os.path.getsize(path), 0
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == EBML:
            return max(0, _end_of_matroska(head + file.read(200)) - size)
        if _is_avi(head):  # some writers include the eight bytes up to the number, some do not
            return max(0, int.from_bytes(head[4:8], "little") - size)
        while head[4:8] in BOXES and at < size:
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:] + file.read(4), "big")
            if length == 0:  # up to the end of the file
                return 0
            at += max(length, 8)
            file.seek(at)
            head = file.read(12)
    return max(0, at - size)


def _end_of_matroska(data: bytes) -> int:
    """Where the segment after the header ends; 0 if its length is unknown, as in live streams."""
    header, at = _length(data, len(EBML))
    at += header
    if data[at : at + 4] != SEGMENT:
        return 0
    length, at = _length(data, at + len(SEGMENT))
    return at + length if length else 0


def _length(data: bytes, at: int) -> tuple[int, int]:
    """The EBML length at a position, 0 if unknown, and where it ends. Leading zero bits count the bytes that follow."""
    follow = 8 - data[at : at + 1].ljust(1, b"\xff")[0].bit_length()
    end = at + follow + 1
    number = int.from_bytes(data[at:end], "big") & ((1 << 7 * (follow + 1)) - 1)
    return (0 if number == (1 << 7 * (follow + 1)) - 1 else number), end


def _is_avi(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"AVI "
