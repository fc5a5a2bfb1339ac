"""A part of the clips: `shard=2/8` is the second of eight jobs that share the work, and a store.

The jobs need not know of each other. A run without `shard` takes their results from the store, and writes those of the
whole data set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def shard_problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with the key `shard` of a recipe, one sentence each."""
    shard = config["shard"]
    if shard is None:
        return []
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", shard)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        return [f"shard is {shard!r}, expected I/N with I from 1 to N, such as 2/8"]
    if config["store"] is None:
        return [
            f"shard={shard} needs store=DIR, a folder or URL that all shards share: the run without `shard` takes "
            "their results from it"
        ]
    return []


def part_of(items: Sequence[T], shard: str | None) -> list[T]:
    """Every N-th item from the I-th on.

    >>> part_of("abcdefg", "2/3")
    ['b', 'e']
    """
    if shard is None:
        return list(items)
    first, count = map(int, shard.split("/"))
    return list(items[first - 1 :: count])
