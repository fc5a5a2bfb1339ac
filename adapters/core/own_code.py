"""Components of other people's code: a file of the user's own, or an installed entry point.

Any error in it is reported as one sentence that names the file and the line: it is not a fault of this package.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from rvos_ensemble.adapters.core.disk import user_path
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import Setting, shown


def import_file(name: str, what: str) -> tuple[ModuleType, Path]:
    """The module in a .py file, and its path.

    Args:
        name: the path as it was given.
        what: it is to hold, for messages: "adapter".

    Raises:
        InputError: no such file, or it cannot be imported; with the line.
    """
    path = user_path(name)
    if os.path.isdir(path):
        raise InputError(f"{path}: a folder, expected a .py file, named as {what} in the recipe")
    if not os.path.isfile(path):
        raise InputError(f"{shown(str(path))[1:-1]}: no such file, named as {what} in the recipe")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        with _registered(module):
            spec.loader.exec_module(module)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file may raise; one that calls sys.exit() is a script
        raise InputError(f"{failure(error, path)}; {what} files are imported, which must work") from error
    return module, path


@contextlib.contextmanager
def _registered(module: ModuleType) -> Iterator[None]:
    """Registers a module under its name, as dataclasses need, and only for now: it is pickled by value."""
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.modules.pop(module.__name__, None)
        if before is not None:
            sys.modules[module.__name__] = before


def failure(error: BaseException, path: Path | str | None) -> str:
    """Where and why a file failed: "my_model.py, line 3: NameError: name 'x' is not defined".

    Args:
        error: that it raised.
        path: of the file; its innermost line is named. Without one the innermost line of all is.
    """
    if isinstance(error, SyntaxError) and error.filename:
        place, said = f"{error.filename}, line {error.lineno}", error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = frames if path is None else [f for f in frames if f.filename == os.path.abspath(path)]
        place = f"{path or own[-1].filename}, line {own[-1].lineno}" if own else str(path or "?")
        said = _said(error)
    return f"{place}: {type(error).__name__}" + (f": {said}" if said else "")


def _said(error: BaseException) -> str:
    try:
        lines = str(error).splitlines() or [""]
        return lines[0].encode("utf-8", "backslashreplace").decode()
    except Exception:  # its own description fails
        return ""


def defaults_problem(defaults: Any) -> str | None:
    """Why `defaults` of a component cannot be used, in words; None where they can."""
    if not isinstance(defaults, Mapping):
        return f"`defaults` is {shown(defaults)}, expected {{setting: its default}}"
    for key, default in defaults.items():
        if not isinstance(key, str):
            return f"`defaults` has the key {shown(key)}, expected names of settings"
        if not _is_plain(default.default if isinstance(default, Setting) else default):
            return (
                f"the default of setting `{key}` is {shown(default)}, expected what a recipe can say: null, true, "
                "false, numbers, texts, lists, tables"
            )
    return None


def _is_plain(value: Any, deep: int = 0) -> bool:
    if isinstance(value, (list, tuple)):
        return deep < 16 and all(_is_plain(v, deep + 1) for v in value)
    if isinstance(value, Mapping):
        return deep < 16 and all(isinstance(k, str) and _is_plain(v, deep + 1) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))
