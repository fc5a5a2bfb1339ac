"""Components: replaceable parts that a recipe names, with strict settings.

A component is a class in a file. A recipe names it by the name of its file in the package (`adapters/soc.py` is `soc`),
by the name of an installed entry point, or by the path of a .py file of the user.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.installed import entry_points
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.adapters.core.own_code import defaults_problem, failure, import_file
from rvos_ensemble.adapters.core.settings import REQUIRED, setting

__all__ = ["REQUIRED", "Component", "available", "find", "make", "merge_settings", "unknown_key"]


class Component:
    """A named part of a recipe: `defaults` contains every setting it has.

    Settings are passed as keyword arguments and read as `self.settings.NAME`.

    Raises:
        InputError: unknown settings (the message lists the valid ones), missing required settings, wrong values, and
            the problems that `relations` reports, all of them together.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    file: ClassVar[Path | None] = None  # the user's file that defines the class; None for a class of this package
    version: ClassVar[int] = 1  # increase it when results change for the same settings and inputs

    def __init__(self, /, **settings):
        self.settings = SimpleNamespace(**merge_settings(self.defaults, settings, self.name, self.relations))

    def relations(self, given: dict[str, Any]) -> Iterable[str]:
        """Problems of settings that contradict each other, one sentence each.

        Args:
            given: all settings except those whose values are wrong by themselves, which are already reported.
        """
        return ()

    @property
    def name(self) -> str:
        """The name of its file, by which recipes name it."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def precisions(self) -> list[str]:
        """The precisions that its networks compute in, such as ["fp32"]; none if it has no network."""
        own = getattr(self.settings, "precision", None)
        return [own] if own else []

    @property
    def low_precisions(self) -> list[str]:
        """Those of `precisions` that are not float32, which need no remark."""
        return [p for p in self.precisions if p != "fp32"]

    @property
    def uses_gpu(self) -> bool:
        """Whether it runs on a GPU: then there is one worker process per GPU instead of one per core."""
        return False


def merge_settings(
    defaults: dict, given: dict, where: str, relations: Callable[[dict[str, Any]], Iterable[str]] | None = None
) -> dict:
    """The given settings merged over the defaults, checked; `adapters/core/settings.py` explains what a default may be.

    A value such as `precision: auto` becomes what it means on this machine (`Setting.resolve`).

    Args:
        defaults: {setting: its default, or a `Setting`}.
        given: values for some of them.
        where: the component that they belong to, for messages.
        relations: returns the problems of settings that contradict each other; called with those that are valid.

    Raises:
        InputError: naming every unknown key, missing value and wrong value.
    """
    problems = [unknown_key(key, defaults, where) for key in given if key not in defaults]
    merged = {}
    for key, default in defaults.items():
        known = setting(default)
        value = given.get(key, known.default)
        required = isinstance(known.default, str) and known.default == REQUIRED
        if (key in given or required) and (problem := known.problem(value)):
            problems.append(f"{where}: setting `{key}` {problem}")
        else:
            merged[key] = value
    merged |= {key: known.resolve(merged) for key in merged if (known := setting(defaults[key])).resolve}
    if relations is not None:
        problems += relations(merged)
    if problems:
        raise InputError(problems)
    return merged


def unknown_key(key: str, valid: Iterable[str], where: str) -> str:
    """The sentence for a key that does not exist.

    >>> unknown_key("treshold", ["inputs", "threshold"], "step smr")
    'step smr: unknown key `treshold`, did you mean `threshold`? Valid: inputs, threshold'
    """
    text = key if isinstance(key, str) and key.isprintable() and len(key) <= 100 else shown(key)
    names = sorted(valid)
    return f"{where}: unknown key `{text}`{did_you_mean(key, names)} Valid: {', '.join(names) or 'none'}"


def find(name: str, base: type[Component], package: ModuleType, group: str) -> type[Component]:
    """The class of the component called `name`.

    Args:
        name: the path of a .py file, the name of a file in the package, or the name of an entry point of the group.
        base: the class that it must derive from, such as `Adapter`.
        package: the package of the built-in components.
        group: the entry point group, such as "rvos_ensemble.adapters".

    Raises:
        InputError: nothing has that name (the message lists all names), or its file or entry point is broken.
    """
    what = base.__name__.lower()
    if name.endswith(".py"):
        module, path = import_file(name, what)
        component = _class_in(module, base, str(path))
        component.file = path
        return component
    if name in _built_in(base, package):
        return _class_in(importlib.import_module(f"{package.__name__}.{name}"), base, name)
    for point in entry_points(group=group):
        if point.name == name:
            return _loaded(point, base)
    names = available(base, package, group)
    raise InputError(
        f"no {what} is called {shown(name)}{did_you_mean(name, names)} Available: {', '.join(names)}; "
        "or give the path of a .py file"
    )


def make(component: type[Component], settings: dict[str, Any], *name: str) -> Component:
    """The component with its settings.

    Args:
        component: its class.
        settings: values for some or all of its settings.
        name: the name in the recipe, for components that take it (steps do).

    Raises:
        InputError: the settings are wrong; for a class of the user, any exception of its `__init__`.
    """
    try:
        return component(*name, **settings)
    except InputError:
        raise
    except Exception as error:
        if component.__module__.startswith("rvos_ensemble."):
            raise
        raise InputError(f"{failure(error, component.file)} (its settings: {shown(settings)})") from error


def available(base: type[Component], package: ModuleType, group: str) -> dict[str, str]:
    """{name: its description in one line} of every component that can be named without a path."""
    lines = {name: _description(source, base) for name, source in _built_in(base, package).items()}
    for point in entry_points(group=group):
        try:
            lines[point.name] = (_loaded(point, base).__doc__ or "").strip().split("\n")[0]
        except InputError as error:  # a broken package must not hide the others
            lines[point.name] = f"cannot be used: {error.problems[0]}"
    return lines


def _loaded(point: EntryPoint, base: type[Component]) -> type[Component]:
    """The class that an entry point names.

    Raises:
        InputError: the entry point cannot be imported, or names something else.
    """
    where = f"entry point {point.name} = {point.value}"
    try:
        component = point.load()
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a package of the user may raise anything
        raise InputError(f"{where}: cannot be loaded: {failure(error, None)}; reinstall that package") from error
    if not isinstance(component, type) or not issubclass(component, base):
        raise InputError(f"{where}: {shown(component)}, expected a class that derives from {base.__name__}")
    if problem := defaults_problem(component.defaults):
        raise InputError(f"{where}: {problem}")
    return component


@lru_cache
def _built_in(base: type[Component], package: ModuleType) -> dict[str, Path]:
    """{name: source} of the files (and folders) of the package that define a component; others beside are helpers."""
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name == "TEMPLATE" or f"{package.__name__}.{module.name}" == base.__module__:
            continue
        path = Path(package.__path__[0]) / module.name
        source = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
        if re.search(rf"^class \w+\(\w*{base.__name__}\)", source.read_text(encoding="utf-8"), re.MULTILINE):
            found[module.name] = source
    return dict(sorted(found.items()))


def _description(source: Path, base: type[Component]) -> str:
    """The first line about the component in a file. It isn't imported: what it needs may take seconds to load."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    classes = [c for c in tree.body if isinstance(c, ast.ClassDef) and c.bases]
    own = [c for c in classes if ast.unparse(c.bases[0]).endswith(base.__name__)]
    texts = [ast.get_docstring(thing) for thing in (*own, tree)]
    return next((text.split("\n")[0] for text in texts if text), "")


def _class_in(module: ModuleType, base: type[Component], name: str) -> type[Component]:
    """The only class of a module that derives from `base`.

    Raises:
        InputError: the module defines none or several, or its `defaults` cannot be used.
    """
    own = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c is not base and c.__module__ == module.__name__
    ]
    if len(own) != 1:
        what = "none" if not own else ", ".join(c.__name__ for c in own)
        raise InputError(f"{name}: expected one class that derives from {base.__name__}, found {what}")
    if problem := defaults_problem(own[0].defaults):
        raise InputError(f"{name}: class {own[0].__name__}: {problem}")
    return own[0]
