"""JSON in UTF-8, read strictly: what the standard parser lets pass unnoticed is reported with its place."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from itertools import chain
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import MOST_BYTES, read_file
from rvos_ensemble.adapters.core.messages import LONE_SURROGATE, shown

DEPTH = 64  # nested lists and objects; no format of this package has ten
ROOT = "at the top"


def read_json(path: str | os.PathLike, most: int = MOST_BYTES, complaint: str = "not a json file") -> Any:
    """The content of a JSON file; see `parse_json`."""
    return parse_json(read_file(path, most), str(path), complaint)


def parse_json(data: bytes | str, where: str, complaint: str = "not a json file") -> Any:
    """Parses JSON strictly.

    Args:
        data: the whole text, UTF-8 if bytes.
        where: file name, for messages.
        complaint: what the message says about a text that is not JSON.

    Raises:
        InputError: not JSON, not UTF-8, a key that an object has twice, more than `DEPTH` nested levels, numbers of too
            many digits, or a lone surrogate, with its place.
    """
    encoded = isinstance(data, bytes)
    if encoded:
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 (byte {error.start}), expected a json file in UTF-8") from error
    repeated: list[str] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs) and not repeated:
            repeated.append(Counter(key for key, _ in pairs).most_common(1)[0][0])
        return result

    try:
        content = json.loads(data, object_pairs_hook=as_object)
        deep = _deeper_than(content, DEPTH)
    except RecursionError:
        deep = True
    except ValueError as error:
        raise InputError(f"{where}: {complaint} ({len(data)} characters): {error}") from error
    if deep:
        raise InputError(f"{where}: lists or objects nested more than {DEPTH} deep, which no format here has")
    if repeated:
        raise InputError(f"{where}: one object has the key {shown(repeated[0])} twice; remove one of them")
    if ("\\u" in data and re.search(r"\\u[dD][89a-fA-F]", data)) or not (encoded or data.isascii()):
        place = lone_surrogate(content)
        if place is not None:
            raise InputError(
                f"{where}: {place}: half a character (a lone surrogate such as \\ud800), which no file can hold; "
                "write the text in UTF-8"
            )
    return content


def lone_surrogate(content: Any, place: str = ROOT) -> str | None:
    """Where a content has a text with a lone surrogate, in words; None where it has none."""
    if isinstance(content, str):
        return place if LONE_SURROGATE.search(content) else None
    below = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in below:
        here = shown(key) if place == ROOT else f"{place}, {shown(key)}"
        if result := lone_surrogate(key, f"key {here}") or lone_surrogate(value, here):
            return result
    return None


def _deeper_than(content: Any, most: int) -> bool:
    level = [content]
    for _ in range(most):
        dicts = [value.values() for value in level if type(value) is dict]
        below = chain(*dicts, *(value for value in level if type(value) is list))
        level = [value for value in below if type(value) in (dict, list)]
        if not level:
            return False
    return True
