"""The plan of the house: imports run one way between wings, no file imports itself in a circle, names are not bare.

Imports inside functions and under TYPE_CHECKING count as all others do.
"""

import ast
import itertools
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("adapters", "propagators", "ensemble", "recipes")
# A file imports only from its own wing and from those above it. A part's own name is the wing of the files at its top.
# J and F are functions on arrays, which steps may use; the protocols of the benchmarks need recipes and workers.
ORDER = (
    "adapters.core",
    "adapters.files",
    "adapters.datasets",
    "adapters.networks",
    "adapters.inference",
    "adapters.training",
    "adapters",
    "propagators.core",
    "propagators.networks",
    "propagators.inference",
    "propagators",
    "propagators.training",
    "recipes",
    "ensemble.fusion",
    "ensemble.metrics",
    "ensemble.steps",
    "ensemble.recipe",
    "ensemble.engine",
    "ensemble.metrics.protocols",
    "ensemble.report",
    "ensemble.ablation",
    "ensemble.commands",
    "ensemble.api",
    "ensemble",
    "rvos_ensemble",
    "run_ensemble",
)
# Imports against the order that are about to go. Remove a line when its import is gone: a line too many fails as well.
KNOWN: set[tuple[str, str]] = set()


def modules(root: Path) -> dict[str, Path]:
    """{dotted name, without `rvos_ensemble.`: file} of the package's modules in a checkout."""
    files = [root / "rvos_ensemble.py", root / "run_ensemble.py"]
    files += [file for part in PARTS for file in sorted((root / part).rglob("*.py"))]
    names = (".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files)
    return dict(zip(names, files, strict=True))


def wing(module: str) -> str:
    """The wing of a module.

    >>> wing("adapters.core.io.png"), wing("adapters.soc"), wing("ensemble"), wing("ensemble.metrics.protocols.mevis")
    ('adapters.core', 'adapters', 'ensemble', 'ensemble.metrics.protocols')
    """
    parts = module.split(".")
    prefixes = (".".join(parts[:n]) for n in (3, 2))
    return next((prefix for prefix in prefixes if prefix in ORDER), parts[0])


@cache
def import_statements(file: Path) -> list[ast.Import | ast.ImportFrom]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports_of(file: Path, package: str) -> set[str]:
    """Full names of what a file imports: of `from a import b`, `a.b`."""
    names = set()
    for node in import_statements(file):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def edges(root: Path) -> dict[str, set[str]]:
    """{module: modules of the package that it imports}."""
    known = modules(root)
    result = {}
    for module, file in known.items():
        own = f"rvos_ensemble.{module}"
        package = own if file.name == "__init__.py" else own.rpartition(".")[0]
        names = {name.removeprefix("rvos_ensemble.") for name in imports_of(file, package) if "rvos_ensemble." in name}
        targets = {name if name in known else name.rpartition(".")[0] for name in names}
        result[module] = {target for target in targets if target in known and target != module}
    return result


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module.

    Source: Tarjan, Depth-first search and linear graph algorithms, SIAM J. Comput. 1972.

    >>> circles({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    [['b', 'c']]
    """
    number, low, stack, result, count = {}, {}, [], [], itertools.count()

    def visit(module: str) -> None:
        number[module] = low[module] = next(count)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == number[module]:
            at = stack.index(module)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                result.append(sorted(component))

    for module in graph:
        if module not in number:
            visit(module)
    return result


def test_every_folder_is_a_wing_of_the_order():
    folders = {wing(module) for module in modules(ROOT)}
    assert folders == set(ORDER)
    unlisted = {
        f"{part}.{folder.name}"
        for part in ("adapters", "propagators", "ensemble")
        for folder in (ROOT / part).iterdir()
        if folder.is_dir() and any(folder.rglob("*.py"))
    } - set(ORDER)
    assert not unlisted


def test_imports_run_one_way():
    against = {
        (module, other)
        for module, others in edges(ROOT).items()
        for other in others
        if ORDER.index(wing(other)) > ORDER.index(wing(module))
    }
    assert not against - KNOWN, "\n".join(f"{a} imports {b}, a later wing" for a, b in sorted(against - KNOWN))
    assert not KNOWN - against, f"gone, remove from KNOWN: {sorted(KNOWN - against)}"


def test_no_module_imports_itself_in_a_circle():
    assert not circles(edges(ROOT))


def test_parts_are_imported_by_their_full_names():
    """A distribution called `adapters` exists: a bare name would import whichever comes first on the path."""
    files = [f for folder in (*PARTS, "tests", "benchmarks") for f in sorted((ROOT / folder).rglob("*.py"))]
    files += [ROOT / "run_ensemble.py", ROOT / "rvos_ensemble.py", ROOT / "hatch_build.py"]
    bare = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in sorted(imports_of(file, "rvos_ensemble"))
        if name.split(".")[0] in PARTS
    ]
    assert not bare


@pytest.fixture
def house(tmp_path):
    """Writes a small package of the same layout: {file: content}."""

    def build(files: dict[str, str]) -> Path:
        for name, content in {"rvos_ensemble.py": "", "run_ensemble.py": "", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return build


@pytest.mark.parametrize(
    "line",
    [
        "from rvos_ensemble.adapters.core.b import thing",
        "from rvos_ensemble.adapters.core import b",
        "import rvos_ensemble.adapters.core.b",
        "import rvos_ensemble.adapters.core.b as b",
        "from . import b",
        "from .b import thing",
        "def f():\n    from rvos_ensemble.adapters.core.b import thing",
        "if TYPE_CHECKING:\n    from rvos_ensemble.adapters.core.b import thing",
    ],
)
def test_every_kind_of_import_is_seen(house, line):
    root = house({"adapters/core/a.py": line, "adapters/core/b.py": "import rvos_ensemble.adapters.core.a"})
    assert edges(root)["adapters.core.a"] == {"adapters.core.b"}
    assert circles(edges(root)) == [["adapters.core.a", "adapters.core.b"]]


def test_a_bare_import_is_seen(house):
    root = house({"adapters/a.py": "import adapters.b\nfrom ensemble import c\n"})
    assert imports_of(root / "adapters/a.py", "rvos_ensemble.adapters") == {"adapters.b", "ensemble.c"}
