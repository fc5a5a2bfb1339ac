"""The team that submits: key `team` of a recipe, and team.json at the root of a submission zip.

The challenges PVUW and LSVOS have required the file since LSVOS 2025, with these fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.setting import REQUIRED, Setting
from rvos_ensemble.adapters.core.settings import listed, table, text


def _is_address(value: Any) -> bool:
    """Whether a value can be an e-mail address."""
    name, at, host = value.partition("@") if isinstance(value, str) else ("", "", "")
    return bool(at and name and "." in host.strip(".") and not any(c.isspace() for c in value))


FILE = "team.json"
MEMBER = {"name": text(), "affiliation": text()}
TEAM: dict[str, Setting] = {
    "agreement": Setting(REQUIRED, "true: the team agrees to the rules of the challenge", lambda v: v is True),
    "team_name": text(),
    "members": listed(table(), least=1, what="a list of {name: ..., affiliation: ...}, at least one"),
    "email": Setting(REQUIRED, "an e-mail address", _is_address, "text"),
}
EXAMPLE = "{agreement: true, team_name: NAME, members: [{name: NAME, affiliation: PLACE}], email: ADDRESS}"


def team_problems(team: Any, where: str) -> list[str]:
    """What is missing, wrong or unknown in a team, one sentence each.

    >>> team_problems({"agreement": True, "team_name": "a", "members": [{"name": "b"}], "email": "b@c.d"}, "team")
    ['team: member 1: setting `affiliation` must be given, a text that is not empty']
    """
    if not isinstance(team, Mapping):
        return [f"{where}: {shown(team)}, expected {EXAMPLE}"]
    problems = _problems(TEAM, team, where)
    members = team.get("members")
    if TEAM["members"].problem(members) is None:
        for number, member in enumerate(members, start=1):
            problems += _problems(MEMBER, member, f"{where}: member {number}")
    return problems


def team_json(team: Mapping[str, Any]) -> bytes:
    """The content of team.json."""
    return (json.dumps({key: team[key] for key in TEAM}, indent=2, ensure_ascii=False) + "\n").encode()


def _problems(known: Mapping[str, Setting], given: Mapping[str, Any], where: str) -> list[str]:
    try:
        merge_settings(known, given, where)
    except InputError as error:
        return error.problems
    return []
