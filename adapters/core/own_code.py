"""Code of the user: a .py file that a recipe names, or an installed entry point.

An error in it is reported in one sentence that names the file and the line, because it is not a fault of this package.
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

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import Setting


def import_file(name: str, what: str) -> tuple[ModuleType, Path]:
    """The module in a .py file, and its path.

    Args:
        name: the path as the recipe has it.
        what: the kind of component that the file should hold, for messages: "adapter".

    Raises:
        InputError: the file does not exist, or importing it fails; the message names the line.
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
    except (Exception, SystemExit) as error:  # a file may raise anything; one that calls sys.exit() is a script
        raise InputError(f"{failure(error, path)}; {what} files are imported, which must work") from error
    return module, path


@contextlib.contextmanager
def _registered(module: ModuleType) -> Iterator[None]:
    """Registers a module temporarily: dataclasses need its name while it runs, and it is pickled by value later."""
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.modules.pop(module.__name__, None)
        if before is not None:
            sys.modules[module.__name__] = before


def failure(error: BaseException, file: Path | str | None) -> str:
    """Where and why the user's code failed: "my_model.py, line 3: NameError: name 'x' is not defined".

    Args:
        error: the exception.
        file: the user's file. Its innermost line in the traceback is named; without a file, the innermost line.
    """
    place = line_of(error, file) or str(file or "?")
    message = error.msg if isinstance(error, SyntaxError) and error.filename else _first_line(error)
    return f"{place}: {type(error).__name__}" + (f": {message}" if message else "")


def line_of(error: BaseException, file: Path | str | None) -> str | None:
    """The innermost line of a file in the traceback of an exception: "my_model.py, line 3".

    Args:
        error: the exception, as it was caught.
        file: the file; None for any.

    Returns:
        None if the traceback does not pass through the file.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = frames if file is None else [f for f in frames if f.filename == os.path.abspath(file)]
    return f"{file or own[-1].filename}, line {own[-1].lineno}" if own else None


def origin(component: Any, method: str) -> str:
    """Where the user's file defines a method: "my_model.py, line 8"; "" for a component of this package.

    Args:
        component: the component, an instance of a class.
        method: name of the method, such as "predict".
    """
    cls = type(component)
    if cls.file is None:
        return ""
    code = getattr(getattr(cls, method, None), "__code__", None)
    inside = code is not None and code.co_filename == os.path.abspath(cls.file)
    return f"{cls.file}, line {code.co_firstlineno}" if inside else str(cls.file)


def _first_line(error: BaseException) -> str:
    """The first line of the error's text, "" if its `__str__` fails."""
    try:
        lines = str(error).splitlines() or [""]
        return lines[0].encode("utf-8", "backslashreplace").decode()
    except Exception:
        return ""


def defaults_problem(defaults: Any) -> str | None:
    """Why `defaults` of a component cannot be used, in words; None if they can."""
    if not isinstance(defaults, Mapping):
        return f"`defaults` is {shown(defaults)}, expected {{setting: its default}}"
    for key, default in defaults.items():
        if not isinstance(key, str):
            return f"`defaults` has the key {shown(key)}, expected names of settings"
        if not _is_plain(default.default if isinstance(default, Setting) else default):
            return (
                f"the default of setting `{key}` is {shown(default)}, expected a value that a recipe can hold: null, "
                "true, false, a number, a text, a list or a table"
            )
    return None


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a recipe can hold a value; nesting deeper than 16 levels counts as an endless one."""
    if isinstance(value, (list, tuple)):
        return depth < 16 and all(_is_plain(v, depth + 1) for v in value)
    if isinstance(value, Mapping):
        return depth < 16 and all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))
