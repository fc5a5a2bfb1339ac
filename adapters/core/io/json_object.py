"""A JSON file that holds one large object: its entries are found in one pass and parsed when they are read.

Such a file, {video: masks of all its expressions}, can be larger than the memory. The pass reads blocks of bytes and
keeps only where each value starts and ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import MOST_BYTES, open_file
from rvos_ensemble.adapters.core.io.hashing import Stamp, file_stamp
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.core.messages import shown

BLOCK = 1 << 18  # bytes that are looked at together, few enough for the cache of the processor
WINDOW = 1 << 16  # bytes that are read at once between values; no key is longer
MOST_ENTRIES = 1 << 20  # no benchmark has as many videos
KEPT = 4  # parsed values that are kept: all expressions of a video are read one after the other

QUOTE, ESCAPE = ord('"'), ord("\\")
STEP = np.zeros(256, np.int8)  # how a byte changes the depth
STEP[[*b"{["]], STEP[[*b"}]"]] = 1, -1

BOM = b"\xef\xbb\xbf"
SPACE = rb"[ \t\n\r]*"
TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
OPENING = re.compile(rb"(?:%s)?%s\{%s" % (BOM, SPACE, SPACE))
KEY = re.compile(rb"(%s)%s:%s" % (TEXT, SPACE, SPACE))
SCALAR = re.compile(TEXT + rb'|[^ \t\n\r,:{}\[\]"]+')
NEXT = re.compile(rb"%s(?:(,)%s(?=\")|\})" % (SPACE, SPACE))


class Extent(NamedTuple):
    """Where a value lies in a file, in bytes."""

    start: int
    end: int


class JsonObject(Mapping[str, Any]):
    """The entries of the object in a JSON file; a value is parsed when it is read, and the last few are kept.

    Args:
        stamp: of the file.
        complaint: what the message says about a text that is not JSON.

    Raises:
        InputError: the file is not an object, has a key twice, or too many entries; when a value is read: the file has
            changed, or the value is refused by `parse_json`.
    """

    def __init__(self, stamp: Stamp, complaint: str = "not a json file"):
        self._stamp, self._complaint = stamp, complaint
        with open_file(stamp[0]) as file:
            self._extents = _entries(file, stamp[0], complaint)
        self._parsed = lru_cache(maxsize=KEPT)(self._parse)

    def __getitem__(self, key: str) -> Any:
        if key not in self._extents:
            raise KeyError(key)
        return self._parsed(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._extents)

    def __len__(self) -> int:
        return len(self._extents)

    def __contains__(self, key: object) -> bool:
        return key in self._extents

    def _parse(self, key: str) -> Any:
        path, (start, end) = self._stamp[0], self._extents[key]
        where = f"{path}: {shown(key)}"
        if end - start > MOST_BYTES:
            raise InputError(f"{where}: {end - start:,} bytes, more than the {MOST_BYTES:,} that can be read at once")
        with open_file(path) as file:
            data = _read(file, path, start, end - start)
        if file_stamp(path) != self._stamp:
            raise InputError(f"{path}: was changed while it was read; run the command again")
        return parse_json(data, where, self._complaint)


class _Malformed(Exception):
    """What is wrong at which byte."""

    def __init__(self, at: int, expected: str):
        super().__init__(f"byte {at}: expected {expected}")


def _entries(file: BinaryIO, path: str, complaint: str) -> dict[str, Extent]:
    """{key: where its value lies} of the object in a file.

    Raises:
        InputError: see `JsonObject`.
    """
    extents: dict[str, Extent] = {}
    try:
        for key, extent in _walk(file, path, _containers(file, path)):
            name = parse_json(key, path, complaint)
            if name in extents:
                raise InputError(f"{path}: one object has the key {shown(name)} twice; remove one of them")
            extents[name] = extent
            if len(extents) > MOST_ENTRIES:
                raise InputError(f"{path}: more than {MOST_ENTRIES:,} entries, which no format here has")
    except _Malformed as error:
        raise InputError(f"{path}: {complaint}: {error}") from error
    return extents


def _walk(file: BinaryIO, path: str, ends: dict[int, int]) -> Iterator[tuple[bytes, Extent]]:
    """The keys, as they are written, and where their values lie; everything between the values is checked.

    Args:
        file: of the object.
        path: its name.
        ends: {start: end} of the values that are objects or lists.
    """
    at = _match(OPENING, file, path, 0, "an object").end()
    last = None if _read(file, path, at, 1) != b"}" else at + 1
    while last is None:
        found = _match(KEY, file, path, at, "a key and a colon")
        start = at + found.end()
        end = ends.get(start) or start + _match(SCALAR, file, path, start, "a value that ends").end()
        yield found[1], Extent(start, end)
        found = _match(NEXT, file, path, end, "a comma and a key, or a closing brace")
        at = end + found.end()
        last = None if found[1] else at
    rest = iter(lambda: file.read(BLOCK), b"")
    file.seek(last)
    for offset, block in zip(itertools.count(last, BLOCK), rest):
        if block.strip(b" \t\n\r"):
            raise _Malformed(offset, "nothing after the object")


def _match(pattern: re.Pattern[bytes], file: BinaryIO, path: str, at: int, expected: str) -> re.Match[bytes]:
    found = pattern.match(_read(file, path, at, WINDOW))
    if not found:
        raise _Malformed(at, expected)
    return found


def _read(file: BinaryIO, path: str, at: int, size: int) -> bytes:
    """Up to `size` bytes of a file."""
    try:
        file.seek(at)
        return file.read(size) or b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _containers(file: BinaryIO, path: str) -> dict[int, int]:
    """{start: end} of the objects and lists that are values of the outermost object.

    Of each block, only quotes, escapes and brackets are looked at, and only brackets outside of texts count.
    """
    starts, ends = [], []
    offset, depth, in_text = 0, 0, False
    while block := _read(file, path, offset, BLOCK):
        data = block.rstrip(b"\\")  # consecutive backslashes are looked at together, in the next block
        if not data and len(block) == BLOCK:
            raise _Malformed(offset, f"fewer than {BLOCK:,} backslashes in a row")
        if not data:
            break  # the file ends inside a text, which is reported with the value that has no end
        places, found = _unescaped(np.frombuffer(data, np.uint8))
        quotes = found == QUOTE
        inside = (np.cumsum(quotes) + in_text) & 1
        in_text = bool(inside[-1]) if len(inside) else in_text
        outside = (inside == 0) & ~quotes
        places, steps = places[outside], STEP[found[outside]]
        depths = depth + np.cumsum(steps, dtype=np.int64)
        depth = int(depths[-1]) if len(depths) else depth
        starts += (offset + places[(steps == 1) & (depths == 2)]).tolist()
        ends += (offset + places[(steps == -1) & (depths == 1)] + 1).tolist()
        if len(starts) > MOST_ENTRIES:
            raise InputError(f"{path}: more than {MOST_ENTRIES:,} entries, which no format here has")
        offset += len(data)
    return dict(zip(starts, ends, strict=False))  # of a truncated file, the last has no end


def _unescaped(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""The quotes and brackets of a block that no backslash escapes.

    Of consecutive backslashes, every second one is itself escaped: after two of them, a quote is not.

    Args:
        data: uint8 [N].

    Returns:
        Their positions, int64 [M], and what they are, uint8 [M].

    >>> _unescaped(np.frombuffer(rb'{"a\\": "\"{"}', np.uint8))[0].tolist()
    [0, 1, 5, 8, 11, 12, 13]
    """
    braces = data | 32  # the brace of a bracket; nothing else becomes one
    places = np.flatnonzero((data == QUOTE) | (data == ESCAPE) | (braces == ord("{")) | (braces == ord("}")))
    found = data[places]
    escapes = np.flatnonzero(found == ESCAPE)
    if not len(escapes):
        return places, found
    at, number = places[escapes], np.arange(len(escapes))
    number -= np.maximum.accumulate(np.where(np.diff(at, prepend=-2) > 1, number, 0))  # counts from each first one
    escaping = escapes[number % 2 == 0]
    after = np.minimum(escaping + 1, len(places) - 1)
    kept = found != ESCAPE
    kept[after[places[after] == places[escaping] + 1]] = False
    return places[kept], found[kept]
