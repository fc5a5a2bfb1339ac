"""What a search may try for each key: a range of whole numbers or of numbers, or a choice.

search.final.threshold=[1..8]                      whole numbers
search.final.threshold=[0.1, 0.9]                  numbers: two, of which one has a decimal point; also [0.1..0.9]
search.sources.soc.min_score={low: 0.001, high: 0.1, log: true}
search.smr_aot.key_frame=[argmax, uniform]         a choice; {choices: [0.25, 0.5]} for a choice of two numbers
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import number, switch

if TYPE_CHECKING:
    from optuna.trial import Trial

FORMS = {
    "[1..8]": "whole numbers from 1 to 8",
    "[0.1,0.9]": "numbers from 0.1 to 0.9; one of the two has a decimal point",
    "{low: 0.001, high: 1, log: true}": "numbers, each order of magnitude as likely as any other",
    "[argmax,uniform]": "one of these values; {choices: [0.25, 0.5]} for one of two numbers",
}
DIGITS = 4  # significant digits of a proposed number, so that tables show what was tried
NUMBER = r"(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)"
EXPECTED = "expected a range such as [1..8] or [0.1, 0.9], or a choice such as [argmax, uniform]"


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    @property
    def ends(self) -> list[int]:
        """Values that must hold in the recipe, or the search is refused."""
        return [self.low, self.high]

    @property
    def every(self) -> list[int]:
        """All values."""
        return list(range(self.low, self.high + 1))

    def contains(self, value: Any) -> bool:
        """Whether a value of the recipe is one that the search may try."""
        return type(value) is int and self.low <= value <= self.high

    def suggest(self, trial: Trial, key: str) -> int:
        """The value that Optuna proposes."""
        return trial.suggest_int(key, self.low, self.high)

    def encode(self, value: int) -> int:
        """The value as Optuna keeps it."""
        return value


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`; with `log`, each order of magnitude is as likely as any other."""

    low: float
    high: float
    log: bool = False
    every = None  # too many to list

    @property
    def ends(self) -> list[float]:
        """See `Whole`."""
        return [self.low, self.high]

    def contains(self, value: Any) -> bool:
        """See `Whole`."""
        return type(value) is float and self.low <= value <= self.high

    def suggest(self, trial: Trial, key: str) -> float:
        """See `Whole`; rounded to DIGITS."""
        rounded = float(f"{trial.suggest_float(key, self.low, self.high, log=self.log):.{DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def encode(self, value: float) -> float:
        """See `Whole`."""
        return value


@dataclass(frozen=True)
class Choice:
    """One of several values of any kind."""

    values: Sequence[Any]

    @property
    def ends(self) -> list[Any]:
        """See `Whole`."""
        return list(self.values)

    @property
    def every(self) -> list[Any]:
        """See `Whole`."""
        return list(self.values)

    def contains(self, value: Any) -> bool:
        """See `Whole`."""
        return self.encode(value) in map(self.encode, self.values)

    def suggest(self, trial: Trial, key: str) -> Any:
        """See `Whole`."""
        return json.loads(trial.suggest_categorical(key, [self.encode(v) for v in self.values]))

    def encode(self, value: Any) -> str:
        """The value as JSON, because Optuna keeps no lists and tables."""
        return json.dumps(value, sort_keys=True)


Space = Mapping[str, Whole | Numbers | Choice]
"""{path of a key: what may be tried}."""


def values_of(written: Any) -> Whole | Numbers | Choice:
    """What may be tried for a key, from its value on the command line.

    >>> values_of(["1..8"]), values_of([0.1, 0.9]), values_of(["argmax", "uniform"])
    (Whole(low=1, high=8), Numbers(low=0.1, high=0.9, log=False), Choice(values=['argmax', 'uniform']))

    Raises:
        InputError: it is none of them.
    """
    if isinstance(written, Mapping):
        return _choice(written["choices"]) if list(written) == ["choices"] else _numbers(written)
    items = written if isinstance(written, list) else [written]
    if len(items) == 1 and (ends := _ends(items[0])):
        return _range(*ends)
    if len(items) == 2 and all(map(_is_number, items)) and any(isinstance(v, float) for v in items):
        return _range(*map(float, items))
    return _choice([v for item in items for v in _expanded(item)])


def number_of_settings(space: Space) -> float:
    """How many settings there are; infinite where a key has a range of numbers."""
    return math.prod(math.inf if values.every is None else len(values.every) for values in space.values())


def _ends(item: Any) -> list[float] | None:
    """Both ends of `1..8` or `0.1..0.9`; None for anything else."""
    found = re.fullmatch(rf"{NUMBER}\.\.{NUMBER}", item) if isinstance(item, str) else None
    if not found:
        return None
    whole = all(re.fullmatch(r"-?\d+", end) for end in found.groups())
    return [int(end) if whole else float(end) for end in found.groups()]


def _range(low: float, high: float) -> Whole | Numbers:
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"the range from {low} to {high} is empty, expected the lower end first")
    return Whole(low, high) if isinstance(low, int) else Numbers(low, high)


def _numbers(written: Mapping[str, Any]) -> Numbers:
    """A range as a table.

    Raises:
        InputError: unknown or missing keys, or an empty range.
    """
    given = merge_settings({"low": number(), "high": number(), "log": switch(False)}, written, "range")
    found = _range(float(given["low"]), float(given["high"]))
    if given["log"] and found.low <= 0:
        raise InputError(f"`low` is {found.low}, expected a number above 0 for `log: true`")
    return Numbers(found.low, found.high, given["log"])


def _choice(values: Any) -> Choice:
    if not isinstance(values, list) or len({json.dumps(v, sort_keys=True, default=str) for v in values}) < 2:
        raise InputError(f"{EXPECTED}; found {values!r}")
    return Choice(values)


def _expanded(item: Any) -> list[Any]:
    """The numbers of `1..3` in a choice; any other item unchanged."""
    ends = _ends(item)
    return Whole(*ends).every if ends and isinstance(ends[0], int) else [item]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
