"""What the table of a run means, in words: what the steps gain over the best source, steps below their inputs, the best
row, votes that are unions."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from rvos_ensemble.ensemble.metrics.existence import existence
from rvos_ensemble.ensemble.metrics.gains import Gain, Scores, difference, difference_of_final
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report.frame import by_row
from rvos_ensemble.ensemble.report.record import ClipRecord

LEAST = 0.0005  # smaller differences are shown as 0.0 in the table


def remarks(
    recipe: Recipe, frame: pd.DataFrame, records: Iterable[ClipRecord], arguments: Sequence[str] | None = None
) -> list[str]:
    """The lines below the table of a run.

    Args:
        recipe: of the run.
        frame: all scores, see `scores_frame`.
        records: of the scored clips.
        arguments: of the command line; None for a run that was started from Python.
    """
    scores, ours = by_row(frame), "Final" if "no_target" in frame else "J&F"
    compare = difference_of_final if ours == "Final" else difference
    values = {name: _value(of, ours) for name, of in scores.items()}
    free = {name for name in scores if not recipe.truth_steps(name)}  # the others are upper bounds
    lines = []
    for name, step in recipe.steps.items():
        inputs = [i for i in step.masks_from if i in free]
        if name in free and inputs:
            best = max(inputs, key=values.__getitem__)
            gain = compare(scores[name], scores[best])
            if gain.delta <= -LEAST:
                what = f"{best}, its best input" if len(inputs) > 1 else f"its input {best}"
                lines.append(f"  {name}: {_shown(gain)} against {what}: {_verdict(gain, 'lower')}")
    if lines:
        lines.insert(0, f"Steps below their inputs ({ours}, 95 % interval over clips):")
    return [
        *_gain_of_output(recipe, scores, values, free, ours),
        *lines,
        *_best_row(recipe, scores, values, free, ours, arguments),
        *_unions(recipe, records),
    ]


def _gain_of_output(
    recipe: Recipe, scores: Mapping[str, Scores], values: Mapping[str, float], free: Collection[str], measure: str
) -> Iterator[str]:
    """What all steps together gain over the best single source."""
    output, sources = recipe.output, [name for name in recipe.sources if name in free]
    if output not in free or output in sources or not sources:
        return
    best = max(sources, key=values.__getitem__)
    compare = difference_of_final if measure == "Final" else difference
    gain = compare(scores[output], scores[best])
    word = "higher" if gain.delta >= 0 else "lower"
    which = "the best source" if len(sources) > 1 else "its source"
    yield (
        f"Output {output} against {best}, {which}: {measure} {_shown(gain)} (95 % interval over clips): "
        f"{_verdict(gain, word)}"
    )


def _best_row(
    recipe: Recipe,
    scores: Mapping[str, Scores],
    values: Mapping[str, float],
    free: Iterable[str],
    measure: str,
    arguments: Sequence[str] | None,
) -> Iterator[str]:
    """The best row, if it is not the output, and how it becomes the output."""
    if recipe.output not in free:
        return
    best = max(sorted(free), key=values.__getitem__)
    compare = difference_of_final if measure == "Final" else difference
    gain = compare(scores[best], scores[recipe.output])
    if best != recipe.output and gain.delta >= LEAST:
        yield (
            f"Best row: {best}, {measure} {_shown(gain)} against the output {recipe.output}: "
            f"{_verdict(gain, 'higher')}. To make it the output:"
        )
        yield f"  {_command(arguments, best)}"


def _unions(recipe: Recipe, records: Iterable[ClipRecord]) -> Iterator[str]:
    """A note on every vote whose share is reached by a single vote of several."""
    records = list(records)
    for name, step in recipe.steps.items():
        if not step.counts_votes or step.gives_votes or isinstance(step.settings.threshold, int):
            continue  # who writes `threshold: 1` asks for a union
        notes = [note for r in records for note in r.notes.get(name, {}).values()]
        counts = [str(note["votes"]).split(" of ") for note in notes if "votes" in note]
        totals = sorted({int(total) for needed, total in counts if needed == "1" and total != "1"})
        if not totals:
            continue
        met = sum(needed == "1" for needed, _ in counts)
        whose = "" if met == len(notes) else f" for {met} of {len(notes)} expressions"
        yield (
            f"note: {name} is a union{whose}: one vote of {' or '.join(map(str, totals))} reaches its threshold "
            f"{step.settings.threshold:g}; steps.{name}.threshold=2 needs two votes"
        )


def _command(arguments: Sequence[str] | None, output: str) -> str:
    """The command of the run with another output, ready to be pasted into a shell."""
    if arguments is None:
        return f"output={output}"
    program = sys.argv[0]
    words = ["python", program] if program.endswith(".py") else [Path(program).name]
    return shlex.join([*words, *(a for a in arguments if not a.startswith("output=")), f"output={output}"])


def _value(scores: Scores, measure: str) -> float:
    """The score by which rows are compared."""
    every = [score for of in scores.values() for score in of.values()]
    jf = sum(score.JF for score in every) / len(every)
    answers = existence(every, jf) if measure == "Final" else None
    return answers.Final if answers else jf


def _shown(gain: Gain) -> str:
    """The difference and its interval, in percent.

    >>> _shown(Gain(-0.012, -0.031, 0.004)), _shown(Gain(0.5, float("nan"), float("nan")))
    ('-1.2 [-3.1, +0.4]', '+50.0')
    """
    interval = "" if gain.mark == "?" else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{100 * gain.delta:+.1f}{interval}"


def _verdict(gain: Gain, word: str) -> str:
    """Whether the difference is more than chance.

    >>> _verdict(Gain(-0.012, -0.031, 0.004), "lower"), _verdict(Gain(-0.012, -0.031, -0.004), "lower")
    ('within the noise', 'significantly lower')
    """
    return {"?": "one clip is too few to tell", "~": "within the noise"}.get(gain.mark, f"significantly {word}")
