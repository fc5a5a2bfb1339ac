"""Components: swappable parts that a recipe names, with strict settings.

A component is a class in a file. The recipe's name for it is the file's name in its folder (`adapters/soc.py` is
`soc`), else an installed entry point, else a path to a .py file of the user's own.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from adapters.sequence import InputError
from adapters.settings import REQUIRED, setting

__all__ = ["REQUIRED", "Component", "available", "find", "merge_settings", "unknown_key"]


class Component:
    """A named part of a recipe: `defaults` says every setting it has.

    Settings arrive as keyword arguments and are read as `self.settings.NAME`.

    Raises:
        InputError: an unknown setting (the valid ones are listed), a required one missing, a value of the wrong type.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    file: ClassVar[Path | None] = None  # of a component of the user's own, given by path
    version: ClassVar[int] = 1  # raise it when the same settings and inputs give another result: stored results expire

    def __init__(self, **settings):
        self.settings = SimpleNamespace(**merge_settings(self.defaults, settings, self.name))

    @property
    def name(self) -> str:
        """The name of its file, by which recipes call it."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def uses_gpu(self) -> bool:
        """Whether it works on a GPU; there is then one process a GPU instead of one a core."""
        return False


def merge_settings(defaults: dict, given: dict, where: str) -> dict:
    """The given settings over the defaults, checked; see `adapters/settings.py` for what a default may say.

    Raises:
        InputError: naming every unknown key, missing value and wrong value.
    """
    problems = [unknown_key(key, defaults, where) for key in given if key not in defaults]
    merged = {}
    for key, default in defaults.items():
        known = setting(default)
        merged[key] = given.get(key, known.default)
        if (key in given or known.default == REQUIRED) and (problem := known.problem(merged[key])):
            problems.append(f"{where}: setting `{key}` {problem}")
    if problems:
        raise InputError(problems)
    return merged


def unknown_key(key: str, valid: Iterable[str], where: str) -> str:
    """The sentence for a key that does not exist.

    >>> unknown_key("treshold", ["inputs", "threshold"], "step smr")
    'step smr: unknown key `treshold`, did you mean `threshold`? Valid: inputs, threshold'
    """
    close = difflib.get_close_matches(str(key), list(valid), 1)
    hint = f", did you mean `{close[0]}`?" if close else "."
    return f"{where}: unknown key `{key}`{hint} Valid: {', '.join(sorted(valid)) or 'none'}"


def find(name: str, base: type[Component], package: ModuleType, group: str) -> type[Component]:
    """The component class called `name`.

    Args:
        name: file name in the package's folder, else entry point of the group, else path of a .py file.
        base: the class it must derive from, such as `Adapter`.
        package: where the built-in ones live.
        group: entry point group, such as "rvos_ensemble.adapters".

    Raises:
        InputError: nothing of that name (what there is, is listed), or the file holds no such class.
    """
    if name.endswith(".py"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"{path}: no such file, named as {base.__name__.lower()} in the recipe")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        with _known(module):
            spec.loader.exec_module(module)
        component = _class_in(module, base, str(path))
        component.file = path
        return component
    if name in _built_in(base, package):
        return _class_in(importlib.import_module(f"{package.__name__}.{name}"), base, name)
    for point in entry_points(group=group):
        if point.name == name:
            return point.load()
    raise InputError(
        f"no {base.__name__.lower()} is called {name!r}. There are: {', '.join(available(base, package, group))}; "
        "or give the path of a .py file"
    )


@contextlib.contextmanager
def _known(module: ModuleType) -> Iterator[None]:
    """Python finds the module by its name, as dataclasses need; only for now: it is to travel to workers by value."""
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.modules.pop(module.__name__)
        if before is not None:
            sys.modules[module.__name__] = before


def available(base: type[Component], package: ModuleType, group: str) -> dict[str, str]:
    """{name: one line about it} of every component that can be named without a path."""
    found = {}
    for name in _built_in(base, package):
        module = importlib.import_module(f"{package.__name__}.{name}")
        found[name] = _first_line(_class_in(module, base, name)) or _first_line(module)
    for point in entry_points(group=group):
        found[point.name] = _first_line(point.load())
    return found


def _built_in(base: type[Component], package: ModuleType) -> list[str]:
    """Files (and folders) of the package that define a component; helpers beside them are not components."""
    names = []
    for module in pkgutil.iter_modules(package.__path__):
        if module.name == "TEMPLATE":
            continue
        path = Path(package.__path__[0]) / module.name
        source = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        if re.search(rf"^class \w+\(\w*{base.__name__}\)", source.read_text(encoding="utf-8"), re.MULTILINE):
            names.append(module.name)
    return sorted(names)


def _class_in(module: ModuleType, base: type[Component], name: str) -> type[Component]:
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c is not base and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        what = "none" if not own else ", ".join(c.__name__ for c in own)
        raise InputError(f"{name}: expected one class that derives from {base.__name__}, found {what}")
    return own[0]


def _first_line(thing) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]
