"""Jurors of the step `gate`: each states, for an expression, the probability that it refers to anything."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few, shown
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.adapters.core.settings import defaults_of, number, path, table, text, texts
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.verdicts import verdicts
from rvos_ensemble.ensemble.steps.parts.signals import SIGNALS, STATED, agreement, signal, signal_problem, states

NAME = "the name of a source or step"
SIGNAL: dict[str, Any] = {  # what a juror reads of the masks of the recipe: one of these
    **{kind: text(None, what=NAME) for kind in SIGNALS},
    "agreement": texts(None, what="names of at least two sources or steps"),
    # how its value becomes a probability; by default the value itself is one
    "at_least": number(None),  # 1 if the value is at least this, else 0
    "logistic": table(None, below={"midpoint": number(), "slope": number(above=0)}),  # 1 / (1 + exp(-slope * distance))
}
OF_FILES = ("states", "value", "extra")  # settings that only verdicts have
JUROR: dict[str, Any] = {
    **verdicts.SETTINGS,
    "verdicts": path(None),
    **SIGNAL,
    "weight": number(1.0, least=0, most=1e6),  # of the rules that take the mean
}
KINDS = ("verdicts", *SIGNALS, "agreement")


def juror_problems(name: str, written: Any, known: Mapping[str, Any] = JUROR) -> list[str]:
    """What is wrong with the settings of a juror.

    Args:
        name: of the juror, for messages.
        written: its settings.
        known: `JUROR`, or `SIGNAL` where only signals are accepted.
    """
    kinds = [kind for kind in KINDS if kind in known]
    if not isinstance(written, Mapping):
        return [f"{name} is {shown(written)}, expected {{KIND: ..., settings}} with KIND one of {', '.join(kinds)}"]

    def contradictions(settings: dict[str, Any]) -> Iterable[str]:
        given = [kind for kind in kinds if settings.get(kind) is not None]
        if len(given) != 1:
            yield f"{name} has {first_few(given)}, expected one of {', '.join(kinds)}"
        elif given == ["agreement"] and len(_listed(settings["agreement"])) < 2:
            yield f"{name}: agreement of {shown(settings['agreement'])}, expected at least two different names"
        elif given == ["area"] and settings.get("at_least") is None and settings.get("logistic") is None:
            yield f"{name}: an area is no probability: give `at_least`, or `logistic: {{midpoint: ..., slope: ...}}`"
        if settings.get("at_least") is not None and settings.get("logistic") is not None:
            yield f"{name} has both `at_least` and `logistic`, expected one of them"
        if settings.get("logistic") is not None:
            try:
                merge_settings(SIGNAL["logistic"].below, settings["logistic"], f"{name}: logistic")
            except InputError as error:
                yield from error.problems
        if given != ["verdicts"]:
            defaults = defaults_of(known)
            wrong = [key for key in OF_FILES if key in settings and settings[key] != defaults[key]]
            yield from (f"{name}: `{key}` is of `verdicts` only" for key in wrong)

    try:
        merge_settings(dict(known), dict(written), name, contradictions)
    except InputError as error:
        return error.problems
    return []


@dataclass(frozen=True)
class Juror:
    """A juror.

    Attributes:
        name: in the recipe.
        written: its settings, which passed `juror_problems`.
        title: what messages call it; "" for "juror NAME".
    """

    name: str
    written: Mapping[str, Any]
    title: str = ""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings, with their defaults."""
        return {**defaults_of(JUROR), **self.written}

    @property
    def kind(self) -> str:
        """What the juror reads, one of `KINDS`."""
        return next(kind for kind in KINDS if self.settings[kind] is not None)

    @property
    def inputs(self) -> list[str]:
        """Names of the sources and steps that it reads."""
        return [] if self.kind == "verdicts" else _listed(self.settings[self.kind])

    @property
    def may_be_silent(self) -> bool:
        """Whether it may have no opinion on an expression."""
        return self.settings["missing"] == "unknown"

    @cached_property
    def verdicts(self) -> verdicts.Verdicts | None:
        """The file of verdicts, if it reads one."""
        if self.kind != "verdicts":
            return None
        return verdicts.Verdicts(**{key: self.settings[key] for key in verdicts.SETTINGS})

    def presences(self, clip: Clip, inputs: Mapping[str, Prediction]) -> dict[str, float | None]:
        """P(the expression refers to something) of every expression of a clip; None if the juror does not say.

        Raises:
            InputError: verdicts that cannot be read, or a source that does not state the signal.
        """
        if self.verdicts:
            values = self.verdicts.presences(clip)
        else:
            values = {e.id: self._signal(clip, e.id, inputs) for e in clip.expressions}
        return {e: None if v is None else self._probability(v, f"{_where(clip, e)}: {self}") for e, v in values.items()}

    def input_problems(self, clip: Clip, known: Mapping[str, Traits]) -> list[str]:
        """Why the sources that it reads cannot state the signal; reads no mask."""
        problems = [
            signal_problem(self.kind, name, known[name].of(e.id)) for name in self.inputs for e in clip.expressions
        ]
        return [f"{self}: {problem}" for problem in dict.fromkeys(problems) if problem]

    def without(self, gone: Collection[str]) -> dict[str, Any] | None:
        """Its settings if some sources and steps are removed; None if it cannot state anything without them."""
        left = [name for name in self.inputs if name not in gone]
        if len(left) == len(self.inputs):
            return dict(self.written)
        return {**self.written, self.kind: left} if len(left) > 1 else None

    def reading(self, instead: Mapping[str, str]) -> dict[str, Any]:
        """Its settings if it reads other sources or steps instead of some."""
        if self.kind == "verdicts":
            return dict(self.written)
        names = [instead.get(name, name) for name in self.inputs]
        return {**self.written, self.kind: names if self.kind == "agreement" else names[0]}

    def __str__(self) -> str:
        return self.title or f"juror {self.name}"

    def _signal(self, clip: Clip, expression: str, inputs: Mapping[str, Prediction]) -> float | None:
        sequences = [inputs[name][expression] for name in self.inputs]
        if self.kind == "agreement":
            return agreement(sequences)
        if self.kind in ("presence", *STATED) and self.may_be_silent and not states(self.kind, sequences[0]):
            return None
        return signal(self.kind, sequences[0], f"{_where(clip, expression)}: {self}: input {self.inputs[0]}")

    def _probability(self, value: float, where: str) -> float:
        """The probability that a value stands for."""
        if (least := self.settings["at_least"]) is not None:
            return 1.0 if value >= least else 0.0
        if (curve := self.settings["logistic"]) is not None:
            x = curve["slope"] * (value - curve["midpoint"])
            return 1 / (1 + math.exp(-x)) if x > -700 else 0.0  # exp overflows beyond 709
        if not 0 <= value <= 1:
            raise InputError(
                f"{where}: a value of {value:.6g}, expected a probability in 0..1; give `at_least`, or "
                "`logistic: {midpoint: ..., slope: ...}`"
            )
        return value


def _listed(names: str | Sequence[str]) -> list[str]:
    """One name or several as a list without duplicates."""
    return list(dict.fromkeys([names] if isinstance(names, str) else names))


def _where(clip: Clip, expression: str) -> str:
    return f"clip {clip.name!r}, expression {expression!r}"
