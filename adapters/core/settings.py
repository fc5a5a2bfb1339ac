"""What the settings of a component may be: types, ranges and choices, said beside their defaults.

    defaults = {
        "path": path(),                                # required; also looked for beside the recipe
        "kind": choice(None, "binary", "prob"),        # the first is the default
        "threshold": number(0.5, above=0, below=1),
        "window": whole(8, least=1, words=("auto",)),
        "videos": names(None),
        "tta": table(None, below={"flip": switch(False)}),
        "report": True,                                # a plain default: values of its type
    }

A value is null only where the default is, or where `null=True` says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rvos_ensemble.adapters.core.messages import LONE_SURROGATE, shown
from rvos_ensemble.adapters.core.yaml_text import read_yaml

REQUIRED = "???"  # OmegaConf's own mark for "must be given"
LARGEST = 2**31 - 1  # of whole numbers, where nothing smaller is said: what every library below takes
LONGEST = 4096  # characters of a text: what systems take as a path

Spelling = Literal["text", "names", "yaml"]


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        default: taken where none is given; `REQUIRED` where one must be.
        expected: what a value should be, in words.
        fits: whether a value is that; null is looked at before.
        spelling: how `key=value` of the command line is read: "text" as it stands, "names" as one text, `[a, b]` or
            `{a: b}`, "yaml" as in a file.
        null: whether the value may be null.
        below: of a table {its key: default or `Setting`}, as far as they are known: how `key.below=value` is read.
        endings: of a path, what may follow it in the name of its file ("" for nothing); None if it is not a path.
    """

    default: Any
    expected: str
    fits: Callable[[Any], bool]
    spelling: Spelling = "yaml"
    null: bool = False
    below: Mapping[str, Any] = field(default_factory=dict)
    endings: tuple[str, ...] | None = None

    def at(self, default: Any) -> Setting:
        """The same with another default."""
        return replace(self, default=default)

    def problem(self, value: Any) -> str | None:
        """Why a value cannot be taken, in words; None where it can."""
        required = isinstance(self.default, str) and self.default == REQUIRED
        if isinstance(value, str) and value == REQUIRED:
            return f"must be given, {self.expected}"
        if isinstance(value, str) and LONE_SURROGATE.search(value):
            return f"is {shown(value)}, which is not UTF-8 and cannot be written into results; rename it"
        if isinstance(value, str) and len(value) > LONGEST:
            return f"is {shown(value)}, {len(value)} characters, at most {LONGEST} are taken"
        if value is None:
            fits = self.null or self.default is None
        else:
            try:
                fits = self.fits(value)
            except (TypeError, ValueError, OverflowError, RecursionError):
                fits = False
        if fits:
            return None
        if required and (value is None or (isinstance(value, (str, list, tuple, Mapping)) and not value)):
            return f"must be given, {self.expected}; found {shown(value)}"
        default = "" if required else f" (default {shown(self.default)})"
        return f"is {shown(value)}, expected {self.expected}{default}"

    def read(self, given: str) -> Any:
        """The value that is meant by the text behind `key=` on the command line.

        Raises:
            InputError: not YAML, where that is expected.
        """
        if given == "null":
            return None
        if self.spelling == "text" or (self.spelling == "names" and not given.startswith(("[", "{"))):
            return given
        return read_yaml(given, names=self.spelling == "names")


def text(default: Any = REQUIRED, null: bool = False, what: str = "") -> Setting:
    """A path, a name, a sentence: any text but an empty one, unless the default is empty too.

    Args:
        default, null: see `Setting`.
        what: it should be, in words, where "a text" says little.
    """
    return Setting(
        default,
        what or ("a text" if default == "" else "a text that is not empty"),
        lambda v: (_is_text(v) or (v == "" and default == "")) and "\0" not in v,
        "text",
        null,
    )


def path(default: Any = REQUIRED, null: bool = False, what: str = "", endings: tuple[str, ...] = ("",)) -> Setting:
    """A file or folder that is read. In a recipe, a relative path is also looked for beside the recipe file.

    Args:
        default, null, what: see `text`.
        endings: of the file's name, which the path may leave out: ("", ".json") finds masks.json by "masks".
    """
    return replace(text(default, null, what), endings=endings)


def choice(*values: Any) -> Setting:
    """One of some values, of which the first is the default."""
    special = {None: "nothing", True: "true", False: "false", "": "''"}
    told = ", ".join(special[v] if v is None or isinstance(v, bool) or v == "" else str(v) for v in values)
    words = all(v is None or isinstance(v, str) for v in values)
    return Setting(
        values[0],
        f"one of {told}",
        lambda v: any(type(v) is type(w) and v == w for w in values),
        "text" if words else "yaml",
        None in values,
    )


def whole(
    default: Any = REQUIRED, least: int = 0, most: int = LARGEST, words: tuple[str, ...] = (), null: bool = False
) -> Setting:
    """A whole number, or one of some words."""
    bottom = f" of at least {least}" if least > -LARGEST else ""
    top = f" and at most {most}" if most != LARGEST else ""
    return Setting(
        default,
        _or(words, f"a whole number{bottom}{top}"),
        lambda v: (isinstance(v, str) and v in words) or (_is_whole(v) and least <= v <= most),
        null=null,
    )


def number(
    default: Any = REQUIRED,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    null: bool = False,
) -> Setting:
    """A finite number."""
    bounds = {"at least": least, "at most": most, "above": above, "below": below}
    told = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def fits(value: Any) -> bool:
        return (
            _is_number(value)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Setting(default, f"a number {told}".strip(), fits, null=null)


def switch(default: bool) -> Setting:
    """True or false."""
    return Setting(default, "true or false", lambda v: isinstance(v, bool))


def names(default: Any = REQUIRED, null: bool = False, what: str = "a name or a list of names") -> Setting:
    """One name, or a list of them; ids of YAML that look like numbers are taken as they read."""
    return Setting(
        default,
        what,
        lambda v: _is_name(v) or (isinstance(v, (list, tuple)) and len(v) > 0 and all(map(_is_name, v))),
        "names",
        null,
    )


def texts(default: Any = REQUIRED, null: bool = False, what: str = "a text or a list of texts") -> Setting:
    """One text (a name, a sentence, a path), or a list of them."""
    return Setting(
        default,
        what,
        lambda v: _is_text(v) or (isinstance(v, (list, tuple)) and len(v) > 0 and all(map(_is_text, v))),
        "names",
        null,
    )


def paths(default: Any = REQUIRED, null: bool = False, what: str = "a path or a list of paths") -> Setting:
    """One path of a file or folder that is read, or a list of them; see `path`."""
    return replace(texts(default, null, what), endings=("",))


def listed(
    of: Setting, default: Any = REQUIRED, least: int = 0, most: int = LARGEST, null: bool = False, what: str = ""
) -> Setting:
    """A list, every value of which fits, of `least` to `most` values."""
    count = f"{least} " if least == most else f"{least} or more of: " if least else ""
    return Setting(
        default,
        what or f"a list of {count}{of.expected}",
        lambda v: isinstance(v, (list, tuple)) and least <= len(v) <= most and all(of.problem(i) is None for i in v),
        null=null,
        endings=of.endings,
    )


def table(
    default: Any = REQUIRED, null: bool = False, below: Mapping[str, Any] | None = None, what: str = ""
) -> Setting:
    """`key: value` lines."""
    lines = what or "`key: value` lines below it"
    return Setting(default, lines, lambda v: isinstance(v, Mapping), null=null, below=below or {})


def either(default: Any, *settings: Setting, null: bool = False, what: str = "") -> Setting:
    """What fits one of several settings, whose own defaults do not count."""
    spelling = "yaml" if any(s.spelling == "yaml" for s in settings) else "names"
    return Setting(
        default,
        what or ", or ".join(s.expected for s in settings),
        lambda v: any(s.problem(v) is None for s in settings),
        spelling if any(s.spelling != "text" for s in settings) else "text",
        null=null or any(s.null for s in settings),
        below={key: value for s in settings for key, value in s.below.items()},
        endings=next((s.endings for s in settings if s.endings), None),
    )


def anything(default: Any = REQUIRED) -> Setting:
    """Whatever its component makes of it."""
    spelling = "text" if default is None or (isinstance(default, str) and default == REQUIRED) else "yaml"
    return Setting(default, "a value", lambda v: True, spelling, True)


def setting(default: Any) -> Setting:
    """What a plain default stands for: values of its type; of null and what must be given nothing is known."""
    if isinstance(default, Setting):
        return default
    if isinstance(default, bool):
        return switch(default)
    if isinstance(default, int):
        return whole(default, -LARGEST - 1)
    if isinstance(default, float):
        return number(default)
    if isinstance(default, str) and default != REQUIRED:
        return Setting(default, "a text", lambda v: isinstance(v, str) and "\0" not in v, "text")
    if isinstance(default, (list, tuple)):
        return Setting(default, "a list", lambda v: isinstance(v, (list, tuple)))
    if isinstance(default, Mapping):
        return table(default)
    return anything(default)


def default_of(value: Any) -> Any:
    """The default itself, of a plain one and of a `Setting`."""
    return value.default if isinstance(value, Setting) else value


def defaults_of(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """{key: the default itself} of a table of settings."""
    return {key: default_of(value) for key, value in defaults.items()}


def _or(words: tuple[str, ...], rest: str) -> str:
    return f"{', '.join(words)} or {rest}" if words else rest


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value and not LONE_SURROGATE.search(value)


def _is_name(value: Any) -> bool:
    return _is_text(value) or _is_whole(value)
