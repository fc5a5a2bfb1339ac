"""Mask PNGs, fast and exact: 8-bit grey and palette; other formats are decoded by Pillow.

A mask has few distinct rows and few edges per row. The filters of PNG (RFC 2083, section 6) turn everything else into
zeros, so a file with adaptive filters, as Pillow writes it, is decoded by processing only the few rows with nonzero
residuals.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from zlib_ng import zlib_ng

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import read_file

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3
COLOURS = {GREY: "grey", 2: "RGB colour", PALETTE: "palette", 4: "grey with alpha", 6: "RGB colour with alpha"}
NONE, SUB, UP, AVERAGE, PAETH = range(5)
LEVEL = 2  # of zlib-ng: 0.2 ms and 4 KB for a 720p mask; level 6 saves a third of the bytes but takes twice as long
MAX_PIXELS = 1 << 27  # a header that states more is damaged or malicious
DEPTHS = {GREY: (1, 2, 4, 8, 16), 2: (8, 16), PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits by colour type
MAX_BYTES = 1 << 28  # of a mask file; an uncompressed one of MAX_PIXELS has half of that


@dataclass(frozen=True)
class Png:
    """A decoded PNG, equal to `np.array(Image.open(file))`.

    Attributes:
        rows: uint8 [R, W], the rows that are not repetitions of the row above: grey levels or palette indices. 1-bit
            gives 0 and 1; 2- and 4-bit grey is scaled to 0..255 as by Pillow (times 85, times 17); palette indices
            are never changed.
        row_of: the number in `rows` of every row of the picture, [H]; None if they are the same.
        palette: whether the values are indices (object ids) rather than grey levels.
        bits: per pixel in the file.
    """

    rows: np.ndarray
    row_of: np.ndarray | None
    palette: bool
    bits: int

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.rows if self.row_of is None else self.row_of), self.rows.shape[1]

    @cached_property
    def values(self) -> np.ndarray:
        """All pixels, uint8 [H, W]."""
        return self.spread(self.rows)

    def spread(self, rows: np.ndarray) -> np.ndarray:
        """An array [H, ...] from one [R, ...] that was computed from `rows` row by row."""
        return rows if self.row_of is None else rows[self.row_of]

    @property
    def labels(self) -> np.ndarray:
        """Object ids, uint8 [H, W]: the values; a grey image that has only 0 and 255 shows one object, number 1."""
        if self.palette or ((self.values > 0) & (self.values < 255)).any():
            return self.values
        return (self.values == 255).astype(np.uint8)


@dataclass(frozen=True)
class Header:
    """The first 33 bytes of a PNG. `colour` is its colour type: 0 grey, 3 palette, 2, 4, 6 other."""

    size: tuple[int, int]
    bits: int
    colour: int
    interlaced: bool


def read(path: str | Path) -> Png:
    """Decodes a file; see `decode`."""
    return decode(read_file(path, MAX_BYTES), str(path))


def size(path: str | Path) -> tuple[int, int]:
    """(H, W) of a PNG file, from its header alone."""
    return header(read_file(path, MAX_BYTES, first=33), str(path)).size


def verify(data: bytes, name: str) -> None:
    """Verifies that a PNG of any colour has all its parts, with correct checksums; nothing is decoded.

    Raises:
        InputError: it is damaged, or not a PNG.
    """
    header(data, name)
    _image_data(data, name)


def header(data: bytes, name: str) -> Header:
    """Parses the header in at least the first 33 bytes.

    Raises:
        InputError: not a PNG, or a damaged one.
    """
    if not data.startswith(SIGNATURE):
        raise InputError(f"{name}: not a PNG file" + ("" if data else ": it is empty"))
    if len(data) < 33 or data[8:16] != b"\0\0\0\rIHDR" or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise InputError(f"{name}: damaged PNG: its header is incomplete or altered")
    width, height, bits, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", data[16:29])
    if not 0 < width * height <= MAX_PIXELS or bits not in DEPTHS.get(colour, ()):
        raise InputError(f"{name}: damaged PNG: {height}x{width} (HxW) of colour type {colour}, {bits} bits")
    if packing or filtering or interlace > 1:
        raise InputError(f"{name}: damaged PNG: compressed, filtered or interlaced by an unknown method")
    return Header((height, width), bits, colour, interlace != 0)


def decode(data: bytes, name: str) -> Png:
    """Decodes the bytes of a PNG.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        InputError: not a PNG, damaged in any way (checksums are verified), a colour image, or deeper than 8 bits.
    """
    head = header(data, name)
    if head.colour not in (GREY, PALETTE):
        raise InputError(
            f"{name}: a {COLOURS[head.colour]} picture, expected a mask: single-channel grey (0/255, 0/1 or 1-bit) or "
            "a palette with object ids; save it as mode L or P"
        )
    palette, packed = head.colour == PALETTE, _image_data(data, name)
    if not head.interlaced:
        raw = _inflate(packed, head, name)
        rows = _unfilter(raw, name) if head.bits == 8 else None
        if rows is not None:
            return Png(*rows, palette, head.bits)
    return Png(_pillow(data, name), None, palette, head.bits)


def encode(mask: np.ndarray) -> bytes:
    """Encodes a mask as single-channel 8-bit PNG, 0 or 255, the format of challenge servers.

    Args:
        mask: bool, or uint8 of 0 and 1, [H, W].

    >>> decode(encode(np.eye(2, dtype=bool)), "eye").values.tolist()
    [[255, 0], [0, 255]]
    """
    if mask.ndim != 2 or mask.size == 0 or (mask.dtype != bool and (mask.dtype != np.uint8 or mask.max() > 1)):
        raise ValueError(f"expected a mask, bool or 0/1 uint8 [H, W], got {mask.dtype} {mask.shape}")
    rows = _rows(mask)
    np.multiply(mask.view(np.uint8), np.uint8(255), out=rows[:, 1:])
    return _encode(rows, GREY)


def encode_indices(indices: np.ndarray) -> bytes:
    """Encodes object ids, uint8 [H, W], as an 8-bit palette PNG in the colours of DAVIS."""
    if indices.ndim != 2 or indices.size == 0 or indices.dtype != np.uint8:
        raise ValueError(f"expected object ids, uint8 [H, W], got {indices.dtype} {indices.shape}")
    rows = _rows(indices)
    rows[:, 1:] = indices
    return _encode(rows, PALETTE)


def _rows(values: np.ndarray) -> np.ndarray:
    """Room for an image, uint8 [H, 1 + W]; the first column is the filter of each row: none."""
    height, width = values.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = NONE
    return rows


def _encode(rows: np.ndarray, colour: int) -> bytes:
    height, width = rows.shape[0], rows.shape[1] - 1
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))]
    if colour == PALETTE:
        chunks.append(_chunk(b"PLTE", DAVIS_PALETTE))
    chunks += [_chunk(b"IDAT", zlib_ng.compress(rows, LEVEL)), _chunk(b"IEND", b"")]
    return SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _davis_palette() -> bytes:
    """The PASCAL VOC colours of DAVIS: bits of the index are distributed to red, green, blue from the top bit down."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


DAVIS_PALETTE = _davis_palette()


def _image_data(data: bytes, name: str) -> bytes:
    """The compressed pixels: all IDAT chunks concatenated, after the checksum of every chunk has been verified."""
    parts, at, kind = [], 8, b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data) or len(kind) < 4:
            raise InputError(f"{name}: damaged PNG: it ends after {len(data)} bytes, in the middle of the picture")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise InputError(f"{name}: damaged PNG: wrong checksum of chunk {kind!r} at byte {at}")
        if kind == b"IDAT":
            parts.append(data[at + 8 : end - 4])
        at = end
    if at != len(data):
        raise InputError(f"{name}: damaged PNG: {len(data) - at} bytes after its end")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate(packed: bytes, head: Header, name: str) -> np.ndarray:
    """The filtered rows, uint8 [H, 1 + bytes per row]; the first column is the filter of each row."""
    height, width = head.size
    stride = 1 + (width * head.bits + 7) // 8
    stream = zlib_ng.decompressobj()
    try:
        raw = stream.decompress(packed, height * stride + 1)  # never more memory than the header states
    except zlib_ng.error as error:
        raise InputError(f"{name}: damaged PNG: {error}") from error
    if not stream.eof or stream.unused_data or len(raw) != height * stride:
        raise InputError(f"{name}: damaged PNG: its data does not fill {height}x{width} (HxW) pixels exactly")
    return np.frombuffer(raw, np.uint8).reshape(height, stride)


def _unfilter(raw: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Undoes the filters of rows with one byte per pixel.

    Rows that equal the row above (Up or Paeth with zero residuals, or both blank) are not computed; the others, few in
    a mask, are decoded in order.

    Returns:
        `rows` and `row_of` of `Png`, or None if Pillow is needed: Average rows, or Paeth rows of more than two values.
    """
    filters, residuals = raw[:, 0].copy(), raw[:, 1:]
    if not filters.any():
        return residuals.copy(), None
    if filters.max() > PAETH:
        raise InputError(f"{name}: damaged PNG: filter {filters.max()} of a row, expected 0 to 4")
    empty = np.bitwise_or.reduce(residuals, axis=1) == 0
    if filters[0] == UP:  # the row above the first one is zero
        filters[0] = NONE
    elif filters[0] == PAETH:
        filters[0] = SUB
    filters[empty & (filters == SUB)] = NONE  # nothing added to zeros
    same = empty & ((filters == UP) | (filters == PAETH))
    blank = empty & (filters == NONE)
    same[1:] |= blank[1:] & blank[:-1]
    distinct = np.flatnonzero(~same)
    filters, rows = filters[distinct], residuals[distinct]
    sub, paeth = np.flatnonzero(filters == SUB), np.flatnonzero(filters == PAETH)
    if (filters == AVERAGE).any():
        return None
    rows[sub] = _running_sums(rows[sub])
    added = _sparse(rows, paeth)
    first = residuals[np.argmin(empty)]
    value = int(first[np.argmax(first != 0)])  # everything before is zero, so this residual is the value itself
    lines = list(rows)  # views; half the cost of `rows[i]` each time
    for i in np.flatnonzero((filters == UP) | (filters == PAETH)).tolist():
        if i in added:
            _paeth_of_two(lines[i], lines[i - 1], added[i], value)
        else:
            np.add(lines[i], lines[i - 1], out=lines[i])
    if added and not ((rows == 0) | (rows == value)).all():
        return None
    return rows, None if len(rows) == len(raw) else np.cumsum(~same) - 1


def _running_sums(rows: np.ndarray) -> np.ndarray:
    """`np.add.accumulate(rows, axis=1)` in uint8, for rows that are mostly zero: constant runs between few steps."""
    count, width = rows.shape
    flat = rows.ravel()
    at = np.flatnonzero(flat != 0)  # many times faster than flatnonzero of bytes
    sums = np.concatenate([[0], np.cumsum(flat[at], dtype=np.uint8)]).astype(np.uint8)
    starts = np.arange(count) * width
    before = np.searchsorted(at, starts)  # steps in the rows above, which are subtracted
    levels = sums[1:] - np.repeat(sums[before], np.diff(before, append=len(at)))
    edges = np.insert(at, before, starts)
    return np.repeat(np.insert(levels, before, 0), np.diff(edges, append=flat.size)).reshape(count, width)


def _sparse(rows: np.ndarray, chosen: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """{row: [(x, value) where it is not zero]} of the chosen rows."""
    pixels = {i: [] for i in chosen.tolist()}
    values = rows[chosen].ravel()
    at = np.flatnonzero(values != 0)  # many times faster on one axis than on two
    row, x = np.divmod(at, rows.shape[1])
    for i, *pixel in zip(chosen[row].tolist(), x.tolist(), values[at].tolist(), strict=True):
        pixels[i].append(pixel)
    return pixels


def _paeth_of_two(row: np.ndarray, above: np.ndarray, added: list[tuple[int, int]], value: int) -> None:
    """Undoes Paeth in place, for an image of two values, 0 and another.

    With two values, Paeth predicts the pixel above where the row above has an edge, and the pixel to the left
    elsewhere. So the row repeats the one above, and a residual has an effect up to the next edge there. If the result
    has only two values, every step was exact; the caller checks that.
    """
    pixels = above.tobytes()
    result = bytearray(pixels)
    for x, residual in added:
        end = pixels.find((value - pixels[x]) & 255, x + 1)
        end = end if end > 0 else len(pixels)
        result[x:end] = bytes(((result[x] + residual) & 255,)) * (end - x)
    row[:] = np.frombuffer(result, np.uint8)


def _pillow(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            values = np.array(image)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and its own
        raise InputError(f"{name}: damaged PNG: {error}") from error
    if values.ndim != 2 or values.max() > 255:
        raise InputError(f"{name}: 16-bit values up to {values.max()}, expected an 8-bit mask or object ids up to 255")
    return values.astype(np.uint8)
