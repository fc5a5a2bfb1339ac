"""What the page says about the masks of one expression: key frames, votes, choices, decisions, and words understood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rvos_ensemble.ensemble.report.record import ClipRecord


def notes_of(record: ClipRecord, name: str, expression: str) -> dict[str, Any]:
    """Key frames, the expressions that voted, the votes needed, the chosen input, a gate's decision, and words.

    Args:
        record: of the clip.
        name: of the source or step.
        expression: its id.

    Returns:
        Only what the source or step has noted; JSON values.
    """
    notes = record.notes.get(name, {}).get(expression, {})
    keys = notes.get("key_frames") or notes.get("key_frame")  # a source notes a single number
    words = notes.get("words")
    result = {
        "keys": [keys] if isinstance(keys, int) else keys,
        "group": notes.get("group"),
        "votes": notes.get("votes"),
        "chosen": notes.get("chosen"),
        "gate": gate_text(gate) if isinstance(gate := notes.get("gate"), dict) and "jurors" in gate else None,
        "words": words_of(words) if isinstance(words, dict) and "understood" in words else None,
    }
    return {k: v for k, v in result.items() if v}


def gate_text(gate: Mapping[str, Any]) -> str:
    """The decision of a gate with its reasons, from its note.

    >>> gate_text({"decision": "emptied", "presence": 0.25, "tau": 0.5, "jurors": {"gpt": 0.25, "sam3": None}})
    'emptied: presence 0.25, tau 0.5 (gpt 0.25, sam3 no opinion)'
    """
    jurors = ", ".join(f"{name} {'no opinion' if p is None else f'{p:.3g}'}" for name, p in gate["jurors"].items())
    presence = "" if gate["presence"] is None else f"presence {gate['presence']:.3g}, "
    return f"{gate['decision']}: {presence}tau {gate['tau']:.3g} ({jurors})"


def words_of(words: Mapping[str, Any]) -> list[list[str]]:
    """What the step `words` understood of a sentence, from its note, as [title, text] for a list.

    >>> words_of({"understood": "black: colour (0.90)", "not_understood": ["in water"], "presence": 0.9,
    ...     "probabilities": {"a/3": 0.8, "a/1": 0.2}, "note": ""})
    [['understood', 'black: colour (0.90)'], ['not understood', 'in water'], ['presence', '0.90'], \
['probabilities', 'a/3 0.80, a/1 0.20']]
    """
    presence, probabilities = words.get("presence"), words.get("probabilities") or {}
    rows = {
        "understood": words["understood"] or "nothing",
        "not understood": ", ".join(words.get("not_understood") or ()),
        "presence": "" if presence is None else f"{presence:.2f}",
        "probabilities": ", ".join(f"{name} {p:.2f}" for name, p in probabilities.items()),
        "note": words.get("note") or "",
    }
    return [[title, text] for title, text in rows.items() if text]
