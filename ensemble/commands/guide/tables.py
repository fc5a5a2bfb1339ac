"""The keys of each verb, as tables: where they are defined, and how they are printed."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rvos_ensemble.adapters.core.settings import REQUIRED, default_of, setting
from rvos_ensemble.ensemble.commands.guide import comments

WIDTH = 120
WIDEST = 28  # characters of a column that is aligned
UNSAID = ("a value", "a text", "a text that is not empty", "`key: value` lines below it")  # says less than a meaning
SMALL = {"a", "an", "the", "of", "or", "one", "and"}  # words that a meaning need not repeat


@dataclass(frozen=True)
class KeyTable:
    """Keys that belong together.

    Attributes:
        title: the line above them.
        settings: {key: its default, or a `Setting`}.
        explain: gives {key: what it means, in words}.
        prefix: of each key as it is typed, such as "engine.".
        optional: whether the keys have defaults that are shown.
    """

    title: str
    settings: Mapping[str, Any]
    explain: Callable[[], Mapping[str, str]] = dict
    prefix: str = ""
    optional: bool = True

    def text(self) -> str:
        """The table for the terminal: key, default, what is expected, and its meaning."""
        meanings = self.explain()
        rows = []
        for key, value in self.settings.items():
            default, words = _default_and_words(value, meanings.get(key, ""))
            rows.append((self.prefix + key, *([default] if self.optional else []), words))
        columns = list(zip(*rows, strict=True))
        widths = [max((len(cell) for cell in column if len(cell) <= WIDEST), default=0) for column in columns]
        return "\n".join([f"{self.title}:", *(_line(row, widths[:-1]) for row in rows)])


def of_component(cls: type, title: str, prefix: str = "") -> KeyTable:
    """The settings of a component."""
    return KeyTable(title, cls.defaults, partial(comments.of_class, cls), prefix)


def of_module(module: Any, name: str, title: str, prefix: str = "") -> KeyTable:
    """A table of settings of a module."""
    return KeyTable(title, getattr(module, name), partial(comments.of_name, module, name), prefix)


def _default_and_words(value: Any, meaning: str) -> tuple[str, str]:
    """A default as it is written in a recipe, and what the setting expects and means."""
    known = setting(value)
    default = default_of(value)
    written = "required" if isinstance(default, str) and default == REQUIRED else _written(default)
    if not meaning:
        return written, known.expected
    said = known.expected in UNSAID or _words(known.expected) - SMALL <= _words(meaning)
    return written, meaning if said else f"{meaning} ({known.expected})"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, str) and value:
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """A row; words that do not fit continue below themselves."""
    head = "".join(f"  {cell:{width}}" for cell, width in zip(row, widths, strict=False)) + "  "
    indent = sum(width + 2 for width in widths) + 2
    lines = textwrap.wrap(row[-1], WIDTH - indent, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([(head + lines[0]).rstrip(), *(" " * indent + line for line in lines[1:])])
