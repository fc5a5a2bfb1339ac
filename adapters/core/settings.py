"""Kinds of settings: types, ranges and choices, declared beside the defaults of a component.

    defaults = {
        "path": path(),                                # required; also looked for beside the recipe
        "kind": choice(None, "binary", "prob"),        # the first is the default
        "threshold": number(0.5, above=0, below=1),
        "window": whole(8, least=1, words=("auto",)),
        "videos": names(None),
        "tta": table(None, below={"flip": switch(False)}),
        "report": True,                                # a plain default: values of its type
    }

A value may be null only if the default is null or `null=True` is set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rvos_ensemble.adapters.core.messages import LONE_SURROGATE
from rvos_ensemble.adapters.core.setting import REQUIRED, Setting

LARGEST = 2**31 - 1  # largest whole number unless a setting says otherwise: what all libraries accept


def text(default: Any = REQUIRED, null: bool = False, what: str = "") -> Setting:
    """A text, such as a name or a sentence; it may be empty only if the default is.

    Args:
        default, null: see `Setting`.
        what: what it should be, in words, if "a text" is not specific enough.
    """
    return Setting(
        default,
        what or ("a text" if default == "" else "a text that is not empty"),
        lambda v: (_is_text(v) or (v == "" and default == "")) and "\0" not in v,
        "text",
        null,
    )


def path(default: Any = REQUIRED, null: bool = False, what: str = "", endings: tuple[str, ...] = ("",)) -> Setting:
    """The path of a file or folder that is read. In a recipe, a relative path may also be relative to the recipe file.

    Args:
        default, null, what: see `text`.
        endings: endings of the file name that the path may omit: with ("", ".json"), "masks" finds masks.json.
    """
    return replace(text(default, null, what), endings=endings)


def choice(*values: Any) -> Setting:
    """One of several values; the first is the default."""
    special = {None: "nothing", True: "true", False: "false", "": "''"}
    options = ", ".join(special[v] if v is None or isinstance(v, bool) or v == "" else str(v) for v in values)
    words = all(v is None or isinstance(v, str) for v in values)
    return Setting(
        values[0],
        f"one of {options}",
        lambda v: any(type(v) is type(w) and v == w for w in values),
        "text" if words else "yaml",
        None in values,
    )


def whole(
    default: Any = REQUIRED, least: int = 0, most: int = LARGEST, words: tuple[str, ...] = (), null: bool = False
) -> Setting:
    """A whole number, or one of several words."""
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
    ranges = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def fits(value: Any) -> bool:
        return (
            _is_number(value)
            and (least is None or value >= least)
            and (most is None or value <= most)
            and (above is None or value > above)
            and (below is None or value < below)
        )

    return Setting(default, f"a number {ranges}".strip(), fits, null=null)


def switch(default: bool) -> Setting:
    """True or false."""
    return Setting(default, "true or false", lambda v: isinstance(v, bool))


def names(default: Any = REQUIRED, null: bool = False, what: str = "a name or a list of names") -> Setting:
    """One name or a list of names; ids that YAML would read as numbers are kept as they are written."""
    return Setting(
        default,
        what,
        lambda v: _is_name(v) or (isinstance(v, (list, tuple)) and len(v) > 0 and all(map(_is_name, v))),
        "names",
        null,
    )


def texts(default: Any = REQUIRED, null: bool = False, what: str = "a text or a list of texts") -> Setting:
    """One text (a name, a sentence, a path) or a list of texts."""
    return Setting(
        default,
        what,
        lambda v: _is_text(v) or (isinstance(v, (list, tuple)) and len(v) > 0 and all(map(_is_text, v))),
        "names",
        null,
    )


def paths(default: Any = REQUIRED, null: bool = False, what: str = "a path or a list of paths") -> Setting:
    """One path of a file or folder that is read, or a list of paths; see `path`."""
    return replace(texts(default, null, what), endings=("",))


def listed(
    of: Setting, default: Any = REQUIRED, least: int = 0, most: int = LARGEST, null: bool = False, what: str = ""
) -> Setting:
    """A list of `least` to `most` values of a kind."""
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
    """A mapping, `key: value` lines."""
    lines = what or "`key: value` lines below it"
    return Setting(default, lines, lambda v: isinstance(v, Mapping), null=null, below=below or {})


def either(default: Any, *settings: Setting, null: bool = False, what: str = "") -> Setting:
    """A value that fits one of several settings; their own defaults are ignored."""
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
    """Any value; the component itself validates it."""
    spelling = "text" if default is None or (isinstance(default, str) and default == REQUIRED) else "yaml"
    return Setting(default, "a value", lambda v: True, spelling, True)


def setting(default: Any) -> Setting:
    """The setting that a plain default means: values of its type, and any value for null and `REQUIRED`."""
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
    """The default itself, from a plain default or a `Setting`."""
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
