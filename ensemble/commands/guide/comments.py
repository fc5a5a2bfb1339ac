"""The comments beside the entries of a table of settings: the only place where a setting is explained.

    DEFAULTS = {
        "steps": whole(10000, least=1),  # optimizer steps        <- of "steps"
        # rate at the end, as a share of the peak                 <- of "final_lr"
        "final_lr": number(0.05),
        **SHARED,                                                # <- those of SHARED, wherever it is defined
        "device": DEVICE,                                        # <- that of DEVICE, if it has none here
    }

Nothing is executed: the source is parsed. A table whose source is not available has no comments.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import sys
import tokenize
from collections import Counter
from functools import lru_cache
from types import ModuleType
from typing import Any

Comments = dict[str, str]


def of_class(cls: type) -> Comments:
    """{setting: comment} of the `defaults` of a component, those of its base classes included."""
    found: Comments = {}
    for base in reversed(cls.__mro__):
        source = _source_of(base)
        body = source.bodies.get(base.__name__, []) if source else []
        if (node := _assigned(body, "defaults")) is not None:
            found |= {key: text for key, text in _of_table(source, node).items() if text}
    return found


def of_name(module: ModuleType, name: str) -> Comments:
    """{setting: comment} of a table of a module."""
    source = _source_of(module)
    node = _assigned(source.tree.body, name) if source else None
    return {} if node is None else _of_table(source, node)


class _Source:
    """A parsed file: its tree, the bodies of its classes, and its comments by line."""

    def __init__(self, text: str, names: dict[str, Any]):
        self.tree, self.names, self.lines = ast.parse(text), names, text.splitlines()
        self.bodies = {node.name: node.body for node in self.tree.body if isinstance(node, ast.ClassDef)}
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self.comments = {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}

    def beside(self, first: int, last: int, alone: bool = True) -> str:
        """The comment at the end of the last line, or the lines of comments right above the first.

        Args:
            first, last: lines of an entry or assignment.
            alone: whether nothing else ends in the last line, whose comment is then of this entry.
        """
        if alone and last in self.comments:
            return self.comments[last]
        above = []
        while first - 1 in self.comments and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
            above.insert(0, self.comments[first])
        return " ".join(above)


@lru_cache
def _parse(file: str, module: str) -> _Source | None:
    try:
        with tokenize.open(file) as stream:
            names = sys.modules[module].__dict__ if module in sys.modules else {}
            return _Source(stream.read(), names)
    except (OSError, SyntaxError, ValueError):
        return None


def _source_of(thing: Any) -> _Source | None:
    """The source of a module or of the module of a class; None if it is not available."""
    file = getattr(thing, "file", None)  # a user's component knows its own
    try:
        return _parse(str(file or inspect.getfile(thing)), getattr(thing, "__module__", None) or thing.__name__)
    except (TypeError, OSError):
        return None


def _assigned(body: list[ast.stmt], name: str) -> ast.expr | None:
    """What is assigned to a name in the body of a module or class."""
    for node in body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return node.value
    return None


def _of_table(source: _Source, node: ast.expr) -> Comments:
    """The comments of the entries of a table, or of the table that an expression names."""
    if not isinstance(node, ast.Dict):
        return _named(source, node)
    found: Comments = {}
    ends = Counter([node.end_lineno, *(value.end_lineno for value in node.values)])
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:  # **SHARED
            found |= _of_table(source, value)
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            text = source.beside(key.lineno, value.end_lineno, ends[value.end_lineno] == 1) or _of_value(source, value)
            found[key.value] = text or found.get(key.value, "")
    return found


def _named(source: _Source, node: ast.expr) -> Comments:
    """The comments of a table that is defined elsewhere: `SHARED`, `module.SHARED` or `Class.defaults`."""
    if isinstance(node, ast.Name):
        if (own := _assigned(source.tree.body, node.id)) is not None:
            return _of_table(source, own)
        if (place := _imported(source, node.id)) is not None:
            return of_name(*place)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = source.names.get(node.value.id)
        if isinstance(owner, type):
            return of_class(owner)
        if isinstance(owner, ModuleType):
            return of_name(owner, node.attr)
    return {}


def _of_value(source: _Source, node: ast.expr) -> str:
    """The comment beside the definition of a setting that has a name: `DEVICE` or `DEVICE.at(...)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    if not isinstance(node, ast.Name):
        return ""
    name = node.id
    if (place := _imported(source, name)) is not None:
        source = _source_of(place[0])
        name = place[1]
    own = _assigned(source.tree.body, name) if source else None
    return "" if own is None else source.beside(own.lineno, own.end_lineno)


def _imported(source: _Source, name: str) -> tuple[ModuleType, str] | None:
    """The module that a name was imported from, and its name there."""
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module in sys.modules:
                    return importlib.import_module(node.module), alias.name
    return None
