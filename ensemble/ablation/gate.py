"""Sweeps tau of a gate over all values in one pass, chooses it on one half of the clips, and reports on the other.

The presence of every expression is computed once, and its masks are scored twice: as they are, and emptied. Each tau is
a choice between the two. The choice is compared with `expected_final`, which needs no ground truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.component import unknown_key
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.gate_clip import Gated, GateScores
from rvos_ensemble.ensemble.ablation.rows import REFERENCE, Row, row
from rvos_ensemble.ensemble.ablation.variants import Variant, changed
from rvos_ensemble.ensemble.ablation.weights import halves
from rvos_ensemble.ensemble.metrics.existence import existence
from rvos_ensemble.ensemble.metrics.gains import difference_of_final
from rvos_ensemble.ensemble.recipe.recipe import Recipe

Expressions = Mapping[str, Mapping[str, Gated]]  # {clip: {expression: ...}}
TAUS = np.linspace(0, 1, 51)
OWN, EXPECTED = 0, 1  # positions of the recipes that `settings` returns


@dataclass(frozen=True)
class Comparison:
    """The results of a sweep.

    Attributes:
        rows: of the reported half: the recipe as it is, the chosen tau, `expected_final`, and masks as they are.
        sweep: the scores at every tau, of all clips and of both halves; see `sweep`.
        curves: the scores of all clips at `TAUS`.
        expected: Final of `expected_final` on all clips.
        tau: the chosen value.
        how: how it was chosen, in words.
        notes: for the reader.
    """

    rows: list[Row]
    sweep: pd.DataFrame
    curves: pd.DataFrame
    expected: float
    tau: float
    how: str
    notes: list[str]


def gate_step(recipe: Recipe, wanted: str | None) -> str:
    """The gate that is swept: the one named, else the output, else the last gate before it.

    Raises:
        InputError: the output needs no gate.
    """
    needed = recipe.needed()
    gates = [n for n, s in recipe.steps.items() if n in needed and s.empties_expressions]
    if not gates:
        raise InputError(f"ablate=gate: output {recipe.output} of recipe {recipe.name} needs no step with `op: gate`")
    if wanted is not None and wanted not in gates:
        raise InputError(unknown_key(wanted, gates, "ablate.step"))
    return wanted or (recipe.output if recipe.output in gates else gates[-1])


def check_truth(clips: Sequence[Clip]) -> None:
    """Refuses clips in which every expression refers to something.

    Raises:
        InputError: then N-acc and Final are not defined.
    """
    truths = (clip.truth.read(e.id) for clip in clips for e in clip.expressions)
    if not any(truth is not None and truth.presence == 0 for truth in truths):
        raise InputError(
            f"ablate=gate: no expression of these {len(clips)} clips refers to nothing, so that Final is not defined; "
            "take a data set with such expressions, such as MeViSv2 or data=shapes_mevis"
        )


def settings(reference: Recipe, step: str) -> list[Variant]:
    """The recipe as it is, and with the rule `expected_final`."""
    own = Variant(REFERENCE, reference.config, step)
    return [own, _variant(reference, step, "expected_final", {"rule": "expected_final", "tau": None, "k": None})]


def compare(
    reference: Recipe,
    step: str,
    clips: Sequence[Clip],
    scored: Callable[[Sequence[Clip]], dict[str, GateScores]],
    options: Mapping[str, Any],
) -> tuple[Comparison, dict[str, str]]:
    """The comparison, and {clip: why it is left out}.

    Args:
        reference: the recipe.
        step: its gate.
        clips: with ground truth.
        scored: scores clips with the recipes of `settings`.
        options: of the ablation: `seed` and `resamples`.

    Raises:
        InputError: too few clips, or a half without expressions of both kinds.
    """
    searched, reported = halves(clips, options["seed"], "ablate=gate")
    records = scored(clips)
    failed = {n: r.error for n, r in records.items() if r.status == "failed"}
    if len(failed) == len(clips):
        raise InputError([f"{n}: {why}" for n, why in failed.items()])
    of_all = {n: r.expressions for n, r in sorted(records.items()) if n not in failed}
    groups = {"all": of_all}
    for name, half in (("searched", searched), ("reported", reported)):
        groups[name] = {c.name: of_all[c.name] for c in half if c.name in of_all}
        _check_half(name, groups[name], options["seed"])
    frame = pd.concat([sweep(of).assign(clips=name) for name, of in groups.items()])
    tau = choose(frame[frame.clips == "searched"])
    rows = _rows(reference, step, groups["reported"], tau, options)
    numbers = {name: len(of) for name, of in groups.items()}
    how = (
        f"the tau with the highest Final of step {step} on {numbers['searched']} clips (seed {options['seed']}); the "
        f"interval is of the other {numbers['reported']}, which the search did not see"
    )
    gain = difference_of_final(rows[2].scores, rows[1].scores, options["seed"], options["resamples"])
    interval = "" if math.isnan(gain.low) else f", {gain.interval}"
    notes = [
        f"tau was chosen on {numbers['searched']} clips; this table is of the other {numbers['reported']}",
        f"expected_final, which saw no ground truth: Final {100 * gain.delta:+.2f} on the chosen tau{interval}",
    ]
    if step != reference.output:
        notes.append(f"the masks of step {step} are scored, not those of the output {reference.output}")
    expected = [gated.decided_by(EXPECTED) for of in of_all.values() for gated in of.values()]
    final = existence(expected, float(np.mean([score.JF for score in expected]))).Final
    return Comparison(rows, frame, sweep(of_all, TAUS), final, tau, how, notes), failed


def sweep(expressions: Expressions, taus: Sequence[float] | None = None) -> pd.DataFrame:
    """The scores at some values of tau.

    Args:
        expressions: with and without targets.
        taus: the values; None for every tau that makes a difference, and 0 and 1. All tau between two neighbouring
            presences are equal; their middle is listed.

    Returns:
        Ascending rows with the columns tau, emptied (number of expressions), N-acc, T-acc, J, F, J&F, Final.
    """
    every = [gated for of in expressions.values() for gated in of.values()]
    presence = np.array([math.inf if g.presence is None else g.presence for g in every])
    scores = np.array([[g.kept[:2], g.emptied[:2]] for g in every])  # [N, 2, (J, F)]
    no_target = np.array([bool(g.kept.no_target) for g in every])
    empty = np.array([[bool(g.kept.empty), True] for g in every])
    if taus is None:
        known = np.unique(presence[np.isfinite(presence)])
        taus = sorted({0.0, *((known[1:] + known[:-1]) / 2).tolist(), 1.0})
    rows = []
    for tau in taus:
        chosen = (presence < tau).astype(int)
        j, f = scores[np.arange(len(every)), chosen].mean(0)
        answers = empty[np.arange(len(every)), chosen]
        n, t = answers[no_target].mean(), (~answers[~no_target]).mean()
        jf = (j + f) / 2
        rows.append([tau, int(chosen.sum()), n, t, j, f, jf, (jf + n + t) / 3])
    return pd.DataFrame(rows, columns=["tau", "emptied", "N-acc", "T-acc", "J", "F", "J&F", "Final"])


def choose(swept: pd.DataFrame) -> float:
    """The tau with the highest Final; of equal ones that which empties the fewest expressions."""
    return float(swept.tau.iloc[int(swept.Final.to_numpy().argmax())])


def _rows(reference: Recipe, step: str, expressions: Expressions, tau: float, options: Mapping[str, Any]) -> list[Row]:
    """The rows of the table."""
    own, expected = settings(reference, step)
    rule = reference.steps[step].settings.rule
    as_mean = {"rule": "mean"} if rule == "expected_final" else {}
    at_tau = {label: _variant(reference, step, label, {**as_mean, "tau": t}) for label, t in _taus(tau).items()}
    chosen, never = at_tau.values()
    decided: list[tuple[Variant, Callable[[Gated], Any]]] = [
        (own, lambda g: g.decided_by(OWN)),
        (chosen, lambda g: g.at(tau)),
        (expected, lambda g: g.decided_by(EXPECTED)),
        (never, lambda g: g.kept),
    ]
    scores = [{n: {e: of(g) for e, g in es.items()} for n, es in expressions.items()} for _, of in decided]
    return [
        row(variant, of, scores[0], options["seed"], options["resamples"])
        for (variant, _), of in zip(decided, scores, strict=True)
    ]


def _taus(tau: float) -> dict[str, float]:
    """The labels of rows with a tau of their own."""
    return {f"tau={tau:.4g}, chosen on the other half": tau, "masks as they are (tau=0)": 0.0}


def _variant(reference: Recipe, step: str, label: str, changes: Mapping[str, Any]) -> Variant:
    """The recipe with some settings of the gate changed, whose gate is scored."""
    of = changed(reference, label, {f"steps.{step}.{key}": value for key, value in changes.items()})
    return replace(of, step=step)


def _check_half(name: str, expressions: Expressions, seed: int) -> None:
    """Refuses a half in which Final is not defined.

    Raises:
        InputError: it lacks expressions with a target, or without one.
    """
    kinds = {bool(gated.kept.no_target) for of in expressions.values() for gated in of.values()}
    if kinds != {True, False}:
        what = "every expression refers to something" if kinds == {False} else "no expression refers to anything"
        raise InputError(
            f"ablate=gate: in the half of the clips that is {name}, {what}, so that Final is not defined; take more "
            f"clips, or another split than ablate.seed={seed}"
        )
