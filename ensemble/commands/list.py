"""The command `list`: the names that recipes and commands accept, and what is known of one of them.

    run_ensemble.py list                    all names, one line each
    run_ensemble.py list adapters           those of one kind
    run_ensemble.py list soc                settings, defaults and documentation of a component; the text of a recipe
    run_ensemble.py list mine/my_model.py   the same of a component of your own

A name may belong to several things, such as an adapter and a protocol; all of them are shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.component import Component, find
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.messages import did_you_mean, shown
from rvos_ensemble.adapters.core.own_code import import_file
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.commands.guide.tables import of_component
from rvos_ensemble.ensemble.recipe import components
from rvos_ensemble.ensemble.recipe.config import loading

PROTOCOL = (evaluate.Protocol, evaluate.protocols, evaluate.GROUP)
# the title of a list -> its names, each with one line, and the kind of the components, or the folder of the files
KINDS: dict[str, tuple[Callable[[], Mapping[str, str]], Any]] = {
    "recipes": (loading.names, loading.FOLDER),
    "data": (loading.tables, loading.FOLDER / "data"),
    "data sets": (partial(components.list_components, "dataset"), components.KINDS["dataset"]),
    "adapters": (partial(components.list_components, "adapter"), components.KINDS["adapter"]),
    "propagators": (partial(components.list_components, "propagator"), components.KINDS["propagator"]),
    "operations": (partial(components.list_components, "op"), components.KINDS["op"]),
    "protocols": (evaluate.names, PROTOCOL),
}
ALSO = {"steps": "operations", "ops": "operations", "datasets": "data sets", "sources": "adapters"}  # other words


def run(arguments: Sequence[str]) -> int:
    """Prints every name with one line about it, those of a kind, or what is known of a name.

    Raises:
        InputError: nothing has that name.
    """
    wanted = " ".join(arguments)
    if not wanted:
        print("\n".join(_listing(kind) for kind in KINDS))
        print("\n`list NAME` shows the settings of one of them, `list KIND` one of these lists.")
    elif kind := kind_of(wanted):
        print(_listing(kind))
    else:
        print("\n\n\n".join(described(wanted)))
    return 0


def kind_of(word: str) -> str | None:
    """The title of the list that a word means, in the singular or plural; None if it is none.

    >>> kind_of("adapters"), kind_of("Adapter"), kind_of("data-sets"), kind_of("soc")
    ('adapters', 'adapters', 'data sets', None)
    """
    plain = word.lower().replace("-", " ").replace("_", " ")
    for name in (plain, f"{plain}s"):
        if name in KINDS or name in ALSO:
            return ALSO.get(name, name)
    return None


def described(name: str) -> list[str]:
    """What is known of everything that has a name: an adapter and a protocol may share one.

    Raises:
        InputError: nothing has that name, or its file is broken.
    """
    if name.endswith(".py"):
        return [_component(_own(name), name)]
    if name.endswith(loading.SUFFIXES):
        return [_file(Path(name))]
    texts = [*_texts(name)]
    if not texts:
        known = [*KINDS, *(n for names, _ in KINDS.values() for n in names())]
        raise InputError(
            f"nothing is called {shown(name)}{did_you_mean(name, known)} `list` shows all names; kinds are "
            f"{', '.join(KINDS)}; or give the path of a .py file"
        )
    return texts


def _texts(name: str) -> Iterator[str]:
    for kind, (names, where) in KINDS.items():
        if name in names():
            if isinstance(where, Path):
                yield f"{kind}: {_file(where / f'{name}.yaml')}"
            else:
                yield f"{kind}: {_component(find(name, *where), name)}"


def _listing(kind: str) -> str:
    """The names of a kind, with one line about each."""
    names = KINDS[kind][0]()
    width = max(map(len, names), default=0)
    return "\n".join([f"{kind}:", *(f"  {name:{width}}  {line}" for name, line in names.items())])


def _component(cls: type[Component], name: str) -> str:
    """The documentation and settings of a component."""
    about = inspect.getdoc(cls) or inspect.getdoc(inspect.getmodule(cls)) or "without documentation"
    settings = of_component(cls, "settings").text() if cls.defaults else "no settings"
    return f"{name}: {about}\n\n{settings}"


def _file(path: Path) -> str:
    """A recipe or data table, as it is written.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return f"{path}\n\n{path.read_text(encoding='utf-8').rstrip()}"
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _own(name: str) -> type[Component]:
    """The component in a file of the user, whatever its kind.

    Raises:
        InputError: the file cannot be imported, or defines no component.
    """
    if not user_path(name).is_file():
        raise InputError(f"{name}: no such file; give the path of a .py file that defines a component")
    module, path = import_file(name, "component")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    places = [where for _, where in KINDS.values() if not isinstance(where, Path)]
    for where in places:
        if any(issubclass(c, where[0]) for c in own):
            return find(name, *where)
    bases = ", ".join(where[0].__name__ for where in places)
    raise InputError(f"{path}: expected a class that derives from one of {bases}, found none")
