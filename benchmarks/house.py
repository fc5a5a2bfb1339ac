"""The size and shape of the code: files and lines per folder, import circles, long functions, missing docstrings.

python -m benchmarks.house [CHECKOUT]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PARTS = ("adapters", "propagators", "ensemble")


def main(root: Path) -> None:
    modules = dict(modules_of(root))
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    folders: dict[str, list[int]] = {}
    for path in modules.values():
        folder = str(path.relative_to(root).parent)
        folders.setdefault(folder, []).append(len(path.read_text(encoding="utf-8").splitlines()))
    print(f"{'folder':40} files  lines  longest")
    for folder, lines in sorted(folders.items()):
        print(f"{folder:40} {len(lines):5} {sum(lines):6} {max(lines):8}")
    every = [n for lines in folders.values() for n in lines]
    print(f"{'all':40} {len(every):5} {sum(every):6} {max(every):8}")
    functions = [f for name, tree in trees.items() for f in functions_of(name, tree)]
    print(f"\nfiles of more than 250 lines: {sum(n > 250 for n in every)}")
    print(f"import circles: {len(circles(imports_of(trees)))}")
    longest, where = max((length, where) for where, length, _ in functions)
    print(f"longest function: {longest} lines ({where})")
    bare = [where for where, _, documented in functions if not documented]
    print(f"public functions, methods and classes without docstring: {len(bare)} of {len(functions)}")


def modules_of(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted name below the checkout, file) of every module."""
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            names = path.relative_to(root).with_suffix("").parts
            yield ".".join(names[:-1] if names[-1] == "__init__" else names), path


def functions_of(module: str, tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """(name, lines, whether it has a docstring) of public functions, classes and methods.

    Methods that override one of a base class, `__init__`, and properties of a protocol need none, as `ruff`'s rules
    for Google docstrings say; here only names that begin with an underscore and `forward` are passed over.
    """

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int, bool]]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                if isinstance(node, ast.FunctionDef) and node.name != "forward":
                    yield f"{prefix}.{node.name}", node.end_lineno - node.lineno + 1, bool(ast.get_docstring(node))
                elif isinstance(node, ast.ClassDef):
                    yield f"{prefix}.{node.name}", 0, bool(ast.get_docstring(node))
                    yield from visit(node.body, f"{prefix}.{node.name}")

    yield from visit(tree.body, module)


def imports_of(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """{module: modules that it imports}, imports within functions and for type checkers included."""
    edges: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                base = node.module.removeprefix("rvos_ensemble.")
                targets = [f"{base}.{alias.name}" for alias in node.names]
                edges[name] |= {t if t in trees else base for t in targets if t in trees or base in trees}
            elif isinstance(node, ast.Import):
                edges[name] |= {a.name.removeprefix("rvos_ensemble.") for a in node.names} & trees.keys()
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[list[str]] = []

    def visit(v: str) -> None:
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in edges[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            group = stack[stack.index(v) :]
            del stack[stack.index(v) :]
            if len(group) > 1:
                result.append(group)

    for v in edges:
        if v not in index:
            visit(v)
    return result


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
