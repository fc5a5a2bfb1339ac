"""docs/evaluation.md is up to date: every command is understood, and every default is that of the protocol."""

import re
from pathlib import Path

import pytest

from rvos_ensemble.adapters.core.settings import defaults_of
from rvos_ensemble.ensemble.commands import evaluate
from rvos_ensemble.ensemble.metrics import protocols
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
COLUMNS = (("davis2017_semi",), ("davis2017_unsup", "ref_davis17"), ("ref_youtube_vos",), ("mevis",))


def commands():
    lines = re.findall(r"python run_ensemble.py evaluate (.*)", PAGE.read_text(encoding="utf-8"))
    return [line.split() for line in lines if "NAME" not in line]


def table():
    """{option: its default as text in each column}."""
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows if cells.count("|") == 3}


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_are_understood(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, block in re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(block)
    arguments = dict(a.split("=") for a in command)
    for key in ("gt", "pred"):
        (tmp_path / key).mkdir()
        arguments[key] = tmp_path / key
    request = evaluate.parse([f"{k}={v}" for k, v in arguments.items()] + [f"out={tmp_path / 'out'}"])
    assert request.protocol.name == arguments["protocol"].removesuffix(".py")


def test_every_protocol_has_its_command():
    assert {a for command in commands() for a in command if a.startswith("protocol=")} == {
        f"protocol={name}" for name in [*evaluate.names(), "pixels.py"]
    }


def as_text(default):
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


@pytest.mark.parametrize(("column", "names"), list(enumerate(COLUMNS)), ids=str)
def test_defaults_are_those_of_the_table(column, names):
    documented = {option: cells[column] for option, cells in table().items() if cells[column]}
    for name in names:
        defaults = defaults_of(evaluate.find(name, Protocol, protocols, evaluate.GROUP).defaults)
        assert {option: as_text(value) for option, value in defaults.items()} == documented
