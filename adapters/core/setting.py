"""Setting: the type, range or choices of one setting, the check of a value, and its spelling on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rvos_ensemble.adapters.core.io.yaml_text import read_yaml
from rvos_ensemble.adapters.core.messages import LONE_SURROGATE, shown

REQUIRED = "???"  # OmegaConf's mark for a value that must be given
ANY_KEY = "*"  # in `Setting.below`: keys that the user names
LONGEST = 4096  # characters of a text: the longest path of most systems

Spelling = Literal["text", "names", "yaml"]


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        default: the value if the recipe has none; `REQUIRED` if the recipe must have one.
        expected: what a value should be, in words.
        fits: whether a value is valid; it is never called with null.
        spelling: how the text of `key=value` on the command line is read: "text" literally, "names" as one text,
            `[a, b]` or `{a: b}`, "yaml" as in a file.
        null: whether the value may be null.
        below: for a table, {its key: default or `Setting`}, as far as known: how `key.below=value` is read. The key
            `ANY_KEY` describes all keys that the table does not name.
        endings: for a path, what may be appended to find its file ("" for nothing); None if it is not a path.
        resolve: for a value that means something else on each machine, such as `auto`: the value that a component has
            in the end, from all its valid settings; None keeps the value as it is.
    """

    default: Any
    expected: str
    fits: Callable[[Any], bool]
    spelling: Spelling = "yaml"
    null: bool = False
    below: Mapping[str, Any] = field(default_factory=dict)
    endings: tuple[str, ...] | None = None
    resolve: Callable[[Mapping[str, Any]], Any] | None = None

    def at(self, default: Any) -> Setting:
        """The same setting with another default."""
        return replace(self, default=default)

    def problem(self, value: Any) -> str | None:
        """Why a value is invalid, in words; None if it is valid."""
        required = isinstance(self.default, str) and self.default == REQUIRED
        if isinstance(value, str) and (problem := self._text_problem(value)):
            return problem
        if self._is_valid(value):
            return None
        if required and (value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value)):
            return f"must be given, {self.expected}; found {shown(value)}"
        default = "" if required else f" (default {shown(self.default)})"
        return f"is {shown(value)}, expected {self.expected}{default}"

    def _text_problem(self, value: str) -> str | None:
        """Why no setting accepts a text, whatever it expects."""
        if value == REQUIRED:
            return f"must be given, {self.expected}"
        if LONE_SURROGATE.search(value):
            return f"is {shown(value)}, which is not UTF-8 and cannot be written into results; rename it"
        if len(value) > LONGEST:
            return f"is {shown(value)}, {len(value)} characters, at most {LONGEST} are allowed"
        return None

    def _is_valid(self, value: Any) -> bool:
        if value is None:
            return self.null or self.default is None
        try:
            return self.fits(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            return False

    def read(self, text: str) -> Any:
        """The value of the text after `key=` on the command line.

        Raises:
            InputError: the text is not YAML, but must be.
        """
        if text == "null":
            return None
        if self.spelling == "text" or (self.spelling == "names" and not text.startswith(("[", "{"))):
            return text
        return read_yaml(text, names=self.spelling == "names")
