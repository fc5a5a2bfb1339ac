"""The size of a JPEG or PNG from its header: nothing is decoded, and only the beginning of a large file is read."""

from __future__ import annotations

import struct
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.core.io.disk import read_file

MOST_BYTES = 1 << 29  # of an image file: more than MAX_PIXELS need as JPEG of the best quality
HEADER = 1 << 16  # bytes that contain nearly every header
JPEG = b"\xff\xd8"
START, SCAN, END = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)), 0xDA, 0xD9
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) of a JPEG or PNG file.

    Raises:
        InputError: the file is missing, is not an image, or has more than MAX_PIXELS.
    """
    data = read_file(path, first=HEADER)
    if data.startswith(JPEG) and len(data) == HEADER and jpeg_size(data) is None:
        data = read_file(path, MOST_BYTES)  # profiles and previews can precede the header
    return size_of(data, path)


def size_of(data: bytes, path: Path) -> tuple[int, int]:
    """(H, W) of the bytes of a JPEG or PNG file.

    Raises:
        InputError: it is not one, or has more than MAX_PIXELS.
    """
    if data.startswith(png.SIGNATURE):
        return png.header(data[:33], str(path)).size
    size = jpeg_size(data) if data.startswith(JPEG) else None
    if size is None:
        raise InputError(f"{path}: not a JPEG or PNG picture; copy or unpack it again")
    if not 0 < size[0] * size[1] <= png.MAX_PIXELS:
        raise InputError(
            f"{path}: damaged JPEG: {size[0]}x{size[1]} (HxW), expected at most {png.MAX_PIXELS:,} pixels; copy or "
            "unpack it again"
        )
    return size


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(H, W) as the first frame header states it; None if there is no frame header before the first scan."""
    at = len(JPEG)
    while 0 <= at < len(data) - 9:
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # stray and fill bytes
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in START:
            return struct.unpack(">HH", data[at + 5 : at + 9])
        elif marker in (0x00, SCAN, END):
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
