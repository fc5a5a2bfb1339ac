"""What was understood of a sentence and why a tracklet was chosen, in words for the table and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.ensemble.fusion.words.choice import Choice
from rvos_ensemble.ensemble.fusion.words.description import Cue, Description

MOST = 20  # tracklets whose probabilities are noted


def explained(
    description: Description, choice: Choice, names: Sequence[str], meanings: Mapping[Cue, str]
) -> dict[str, Any]:
    """What was understood of a sentence, as JSON values.

    Args:
        description: what the parser understood.
        choice: what was chosen.
        names: of the tracklets.
        meanings: {cue: what a noun was read as}.

    Returns:
        `understood`: one line for each cue that was read: its words, its meaning, and its fit to the best tracklet;
        `not_understood`: words that had no effect; `probabilities` of the most probable tracklets; `presence`; `note`;
        `answered`, if a detector read the sentence.
    """
    best = choice.chosen[0]
    lines = [f"{cue.words}: {_meaning(cue, meanings)} ({fit[best]:.2f})" for cue, fit in choice.fits.items()]
    if description.count != 1:
        lines.append(f"number: {'all that fit' if description.count is None else description.count}")
    unread = [cue.words for cue in description.cues if cue not in choice.fits]
    ours = choice.answered is None  # otherwise a detector read the sentence, all of it
    order = (-choice.probabilities).argsort(kind="stable")[:MOST]
    return {
        "understood": "; ".join(lines),
        "not_understood": [*unread, *description.not_understood] if ours else [],
        "probabilities": {names[i]: round(float(choice.probabilities[i]), 4) for i in order},
        "presence": None if choice.presence is None else round(choice.presence, 4),
        "note": description.note if ours else "",
        **({} if ours else {"answered": choice.answered}),
    }


def explain(words: Mapping[str, Any], chosen: Sequence[str], refused: bool, hint: str, by: str) -> str:
    """One sentence about a choice.

    Args:
        words: what `explained` returns.
        chosen: names of the chosen tracklets.
        refused: whether the masks were emptied.
        hint: what would let it understand more; "" if nothing.
        by: "words" or "salience".

    >>> words = {"understood": "black: colour (0.90)", "not_understood": ["swan"], "presence": 0.9, "note": ""}
    >>> explain(words, ["a/3"], False, "", "words")
    'a/3 by black: colour (0.90); not understood: swan'
    """
    names = first_few(chosen)
    if by == "salience":
        return f"{names}, which stands out most; the sentence was not read"
    parts = [f"{names} by {words['understood']}" if words["understood"] else f"{names}, which stands out most"]
    if refused:
        known = words["presence"] is not None
        reason = f"nothing fits: presence {words['presence']:.2f}" if known else "nothing was understood"
        reason = "the detector found nothing" if words.get("answered") is False else reason
        parts = [f"empty, because {reason}" + (f" (best: {parts[0]})" if words["understood"] else "")]
    elif not words["understood"]:
        parts.append("nothing was understood")
    if words["not_understood"]:
        parts.append(f"not understood: {first_few(words['not_understood'], 8)}")
    return "; ".join([*parts, *filter(None, [words["note"], hint])])


def _meaning(cue: Cue, meanings: Mapping[Cue, str]) -> str:
    """The meaning of a cue, such as "colour" or "place left"."""
    if cue in meanings:
        return meanings[cue]
    if cue.kind == "answer":
        return "answer of the detector"
    if cue.kind == "object":
        return "the label of the detector"
    if cue.kind in ("colour", "part colour"):
        return "colour" if cue.kind == "colour" else "colour of a part"
    return f"{cue.kind} {cue.rank} from {cue.value}" if cue.kind == "order" else f"{cue.kind} {cue.value}"
