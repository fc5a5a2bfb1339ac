"""The arguments of `ablate`: a list of values for any key of the recipe, or a named ablation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rvos_ensemble.adapters.core.component import merge_settings, unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import digest
from rvos_ensemble.adapters.core.io.yaml_text import read_yaml
from rvos_ensemble.adapters.core.settings import listed, switch, text, whole
from rvos_ensemble.ensemble.ablation.search.space import Space, values_of

NAMED = {
    "sources": "every vote without one source; with one source only; each source by itself",
    "steps": "the recipe built up from its best source, and without each step",
    "weights": "votes of each input of a vote step, searched on one half of the clips, reported on the other",
    "gate": "every tau of a gate, chosen on one half of the clips, reported on the other; N-acc against T-acc",
    "key_frame": "every rule of propagators/core/key_frames.py, in all propagate steps",
    "grouping": "every rule of ensemble/fusion/grouping.py",
}

# Settings of the ablation itself, as ablate.NAME=VALUE, with their defaults.
OPTIONS: dict[str, Any] = {
    "seed": whole(0),  # of the bootstrap, of the split in halves, and of the search
    "limit": whole(512, least=1),  # largest number of settings in a grid
    "resamples": whole(10_000, least=100, most=10_000_000),  # of the bootstrap
    "budget": whole(64, least=1),  # weights, search: number of settings that may be tried
    "prune": switch(True),  # search: a setting that loses on the first clips is stopped
    # weights: values that the weight of an input may have
    "votes": listed(whole(most=255), [0, 1, 2, 3], least=2, what="a list of at least two whole numbers"),
    "step": text(None),  # weights, gate: which vote or gate; by default the output, or the last one before it
}
LONGEST = 80  # characters of a folder's name
KEYS = ("source", "sources", "propagators", "grouping", "steps", "output")  # of a recipe; these may be swept


@dataclass(frozen=True)
class Request:
    """A parsed command.

    Attributes:
        recipe: the arguments that define the recipe, `key=value` each.
        name: of a named ablation; None for lists.
        lists: {path of a key as written: values to try}.
        options: see OPTIONS.
        space: of a search, {path of a key as written: what may be tried}; then the name is "search".
    """

    recipe: list[str]
    name: str | None
    lists: dict[str, list]
    options: dict[str, Any]
    space: Space = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What is ablated, as on the command line."""
        if self.space:
            return " ".join(f"search.{p}" for p in self.space)
        return f"ablate={self.name}" if self.name else " ".join(f"ablate.{p}" for p in self.lists)

    @property
    def folder(self) -> str:
        """The name of the folder of its results: what is ablated.

        >>> Request([], "weights", {}, {"step": "smr"}).folder, Request([], None, {"a.k": [1], "b.k": [2]}, {}).folder
        ('weights.smr', 'a.k+b.k')
        """
        step = "+".join(self.space) or (self.options.get("step") if self.name else None)
        name = f"{self.name}.{step}" if step else self.name or "+".join(self.lists)
        plain = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
        return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}-{digest(name)[:8]}"


def read(arguments: Sequence[str]) -> list[Request]:
    """Parses the arguments of the command.

    Returns:
        What is compared: one request for the lists, or one for each named ablation.

    Raises:
        InputError: neither lists nor a name, both, an unknown name, an empty list, or a value that is no list.
    """
    own = [a for a in arguments if re.match(r"ablate[.=]|search\.", a)]
    names, lists, options, space = [], {}, {}, {}
    problems = [f"argument {a!r}: expected key=value, did you mean `ablate={a}`?" for a in arguments if a in NAMED]
    for argument in own:
        key, equals, written = argument.partition("=")
        path = key.removeprefix("ablate").removeprefix(".")
        try:
            value = read_yaml(written)
            if key.startswith("search."):
                space[key.removeprefix("search.")] = values_of(value)
                continue
        except InputError as e:
            problems += [f"{key}: {p}" for p in e.problems]
            continue
        if not equals:
            problems.append(f"argument {argument!r}: expected {argument}=[value, value, ...]")
        elif not path:
            names += [str(name) for name in (value if isinstance(value, list) else [value])]
        elif path in OPTIONS:
            options[path] = value
        elif not isinstance(value, list) or not value:
            problems.append(f"{key}: expected a list of values to try, such as [1, 2, 3] or [1..8], found {written}")
        else:
            lists[path] = [v for item in value for v in _range(item)]
    try:
        options = merge_settings(OPTIONS, options, "ablate")
    except InputError as e:
        problems += e.problems
    names = list(dict.fromkeys(names))
    problems += [unknown_key(name, NAMED, "ablate") for name in names if name not in NAMED]
    if not problems:
        problems = _contradictions([*names, *(["search"] if space else [])], lists, options)
    if problems:
        raise InputError(problems)
    recipe = [a for a in arguments if a not in own]
    named = [Request(recipe, name, lists, options) for name in names or ([None] if lists else [])]
    return [*named, Request(recipe, "search", {}, options, space)] if space else named


def full_paths(paths: Iterable[str], config: Mapping[str, Any], prefix: str = "ablate") -> dict[str, str]:
    """{path as written: full path}, see `full_path`.

    Raises:
        InputError: naming every path that cannot be swept, or two of one key.
    """
    found, problems = {}, []
    for path in paths:
        try:
            found[path] = full_path(path, config, prefix)
        except InputError as e:
            problems += e.problems
    if len(set(found.values())) < len(found):
        problems.append(f"ablate: one key is listed twice: {', '.join(f'{prefix}.{p}' for p in found)}")
    if problems:
        raise InputError(problems)
    return found


def full_path(path: str, config: Mapping[str, Any], prefix: str = "ablate") -> str:
    """The full path of a key in the recipe; a step may be written without `steps.`.

    >>> full_path("final.threshold", {"steps": {"final": {}}})
    'steps.final.threshold'

    Raises:
        InputError: there is no such key or step, or it cannot be swept.
    """
    first, _, rest = path.partition(".")
    steps = [name for name, settings in config["steps"].items() if settings is not None]
    step = next((s for s in steps if path == s or path.startswith(f"{s}.")), None)
    if first in KEYS:
        if first == "steps" and (name := rest.partition(".")[0]) not in steps:
            raise InputError(unknown_key(name, steps, f"{prefix}.{path}: steps"))
        if first == "sources" and (name := rest.partition(".")[0]) not in config["sources"]:
            raise InputError(unknown_key(name, config["sources"], f"{prefix}.{path}: sources"))
        return path
    if step is None:
        raise InputError(unknown_key(first, [*steps, *KEYS, *OPTIONS], f"{prefix}.{path}"))
    if path == step:
        raise InputError(f"{prefix}.{path}: which key of step {step}? It has {', '.join(config['steps'][step])}")
    return f"steps.{path}"


def _contradictions(names: Sequence[str], lists: Mapping, options: Mapping) -> list[str]:
    problems = []
    if not names and not lists:
        named = "; ".join(f"ablate={n}: {what}" for n, what in NAMED.items())
        problems.append(
            f"ablate what? Give ablate.STEP.KEY=[value, value, ...], search.STEP.KEY=[low..high], or one of {named}"
        )
    if names and lists:
        problems.append(f"ablate={names[0]} and ablate.{next(iter(lists))}=[...]: give one of them")
    votes = options["votes"]
    if len(set(votes)) < 2:
        problems.append(f"ablate.votes is {votes!r}, expected at least two numbers that differ, such as [0, 1, 2]")
    return problems


def _range(item: Any) -> list:
    """The numbers of a range such as `1..8`; any other item unchanged.

    >>> _range("1..3"), _range("runs")
    ([1, 2, 3], ['runs'])
    """
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", item) if isinstance(item, str) else None
    return list(range(int(ends[1]), int(ends[2]) + 1)) if ends else [item]
