"""Values in files of verdicts: their names, what they may be, and the presence that each of them states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import first_few, shown

NEUTRAL = ("probability", "prob", "p", "verdict", "answer")  # the setting `states` decides what they state
NAMES = {  # names of values that state presence or absence themselves
    "presence": ("presence", "present", "p_present", "is_present", "exists", "is_match", "results"),
    "absence": ("absence", "absent", "p_absent", "is_absent", "no_target", "p_no_target", "is_empty"),
}
VALUES = (*NEUTRAL, *NAMES["presence"], *NAMES["absence"])
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
ABSOLUTE = {"present": 1.0, "absent": 0.0}
EXPECTED = "a probability in 0..1, true or false, yes or no"


def value_in(record: Mapping[str, Any], states: str, value: str | None, where: str) -> Any:
    """The value of an object that also has other keys.

    Raises:
        InputError: it has none, several, or one whose name contradicts `states`.
    """
    present = [k for k in record if (k == value if value else k in VALUES)]
    if len(present) != 1:
        expected = f"`{value}`" if value else f"one of {', '.join(VALUES)}, or another name that `value` gives"
        raise InputError(f"{where}: values {first_few(present)} among {first_few(record)}, expected {expected}")
    other = "absence" if states == "presence" else "presence"
    if not value and present[0] in NAMES[other]:
        raise InputError(f"{where}: `{present[0]}` states {other}, but the juror is read with `states: {states}`")
    return record[present[0]]


def presence_of(written: Any, states: str, value: str | None, where: str) -> float | None:
    """P(the expression refers to something) of a written value; None for a missing one.

    Raises:
        InputError: anything but a probability, yes or no: prose, percent.
    """
    if isinstance(written, dict):
        written = value_in(written, states, value, where)
    if isinstance(written, list):  # of instances, which says itself that there is one
        return float(len(written) > 0)
    if isinstance(written, str):
        word = written.strip().rstrip(".").lower()
        if word in ABSOLUTE:
            return ABSOLUTE[word]
        number = WORDS.get(word, _number(word))
        if word and number is None:
            raise InputError(f"{where}: the answer {shown(written)} is prose, expected {EXPECTED}")
        written = number
    if written is None:
        return None
    if not isinstance(written, (bool, int, float)) or not 0 <= written <= 1:  # NaN is refused, too
        raise InputError(f"{where}: {shown(written)}, expected {EXPECTED}")
    return float(written) if states == "presence" else 1.0 - float(written)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
