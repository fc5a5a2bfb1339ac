"""The command `ablate`: compares settings of a recipe, scores them clip by clip, and writes tables and the best one.

    run_ensemble.py ablate stage2 "ablate.final.threshold=[1..8]"    every value of a key; several lists form a grid
    run_ensemble.py ablate stage2 ablate=steps ablate=sources        named ablations, one after the other
    run_ensemble.py ablate stage2 "search.final.threshold=[1..8]"    a search over ranges; needs Optuna

The files of each are in OUT/ablations/NAME, those of the latest also in OUT; see docs/ablation.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation import gate, variants, weights
from rvos_ensemble.ensemble.ablation.gate_clip import GateScores, gate_clip
from rvos_ensemble.ensemble.ablation.results import files, gate_files
from rvos_ensemble.ensemble.ablation.results.outcome import Outcome
from rvos_ensemble.ensemble.ablation.rows import Row, climb, settings_of
from rvos_ensemble.ensemble.ablation.scoring import Scorer
from rvos_ensemble.ensemble.ablation.search.compare import compare, space_of
from rvos_ensemble.ensemble.ablation.settings import Request, read
from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.engine.clips import check, list_clips
from rvos_ensemble.ensemble.engine.failures import print_some
from rvos_ensemble.ensemble.engine.storage.folders import clear, owned, private
from rvos_ensemble.ensemble.engine.storage.stores import in_use
from rvos_ensemble.ensemble.engine.workers.workers import spread
from rvos_ensemble.ensemble.recipe.config.loading import resolve
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.report import refresh
from rvos_ensemble.ensemble.report.page.page import ABLATIONS

KEPT = "ablation"  # scores of settings, kept from one ablation to the next
HALVES = ("weights", "gate", "search")  # ablations that choose on one half of the clips and report on the other
REPORTED = 10  # weights: number of tried settings that are reported on the other half

NAMED = {
    "sources": variants.of_sources,
    "steps": variants.of_steps,
    "key_frame": variants.of_key_frame,
    "grouping": variants.of_grouping,
}


def run(arguments: Sequence[str]) -> int:
    """Compares settings of a recipe.

    Returns:
        The exit code: 0 when every clip could be scored with the recipe as it is, 1 when some could not.

    Raises:
        InputError: what is asked cannot be done; nothing was computed.
    """
    requests = read(arguments)
    reference = variants.build(*resolve(requests[0].recipe))
    for request in requests:  # before anything is computed
        if request.name in HALVES:
            _check(request, reference)
    asked = [(r, *(([], []) if r.name in HALVES else _compared(r, reference))) for r in requests]
    with contextlib.ExitStack() as locks:
        locks.enter_context(owned(reference.out, "run"))
        clips, failed = _clips(reference, [v for _, compared, _ in asked for v in compared])
        for request in requests:
            if request.name in HALVES:  # enough clips for two halves
                weights.halves(clips, request.options["seed"], request.title)
        kept = locks.enter_context(private(reference.out / KEPT, rests=True))
        locks.enter_context(in_use(reference.store))
        clear(kept)
        for request, compared, notes in asked:
            outcome = _outcome(request, reference, clips, compared, notes, kept)
            failed |= outcome.failed
            _write(reference, request, outcome)
    if failed:
        print(f"\n{len(failed)} clips are left out:", file=sys.stderr)
        print_some([f"  {name}: {why}" for name, why in sorted(failed.items())])
    return 1 if failed else 0


def _check(request: Request, reference: Recipe) -> None:
    """Refuses what cannot be searched.

    Raises:
        InputError: saying why.
    """
    if request.name == "search":
        space_of(request, reference)
    else:
        {"weights": weights.vote_step, "gate": gate.gate_step}[request.name](reference, request.options["step"])


def _outcome(
    request: Request,
    reference: Recipe,
    clips: Sequence[Clip],
    compared: Sequence[Variant],
    notes: Sequence[str],
    kept: Path,
) -> Outcome:
    """Scores what is compared, and chooses the best."""
    scorer = Scorer(reference, kept, request.options)
    if request.name == "search":
        return compare(request, reference, clips, scorer)
    scored = scorer.rows
    if request.name == "weights":
        return _weights(request, reference, clips, scored)
    if request.name == "gate":
        return _gate(request, reference, clips)
    rows, broken = scored(clips, compared)
    if request.name == "steps":
        rungs, rest = _ladder(reference, rows)
        rows = [rows[0], *rungs, *rest]
        notes = [*notes, *climb(rungs, request.options["seed"], request.options["resamples"])]
    what = f"the highest {rows[0].measure} of {len(settings_of(rows))} settings"
    return Outcome(rows, [*notes], f"{what}, on the clips they are scored on: expect less on others", broken)


def _compared(request: Request, reference: Recipe) -> tuple[list[Variant], list[str]]:
    """The settings, with the oracle of the recipe for comparison, if it has one; and notes for the reader."""
    found, notes = variants.of_lists(request, reference) if request.name is None else NAMED[request.name](reference)
    oracles = [name for name, step in reference.steps.items() if step.reads_truth]
    if oracles and not any(v.step in oracles for v in found):
        found = [*found, Variant(f"oracle: {oracles[0]}", reference.config, oracles[0])]
    return found, notes


def _clips(reference: Recipe, compared: Sequence[Variant]) -> tuple[list[Clip], dict[str, str]]:
    """The clips to score, and {clip: what is wrong with it}.

    Raises:
        InputError: none can be computed, or none has ground truth.
    """
    sources = dict(reference.sources)
    for v in compared:
        if v.config["sources"] != reference.config["sources"]:
            built = variants.build(reference.name, v.config).sources
            changed = {n: a for n, a in built.items() if v.config["sources"][n] != reference.config["sources"].get(n)}
            sources |= {f"{n} ({v.label})" if n in sources else n: a for n, a in changed.items()} if changed else {}
    listed = list_clips(reference)
    checked = check(replace(reference, sources=sources), listed.clips)
    problems = {**listed.bad, **checked.problems}
    if len(checked.problems) == len(checked.clips):
        raise InputError(dict.fromkeys(p for lines in problems.values() for p in lines))
    good = [c for c in checked.clips if c.name not in checked.problems]
    judged = [c for c in good if c.truth is not None and any(c.truth.read(e.id) is not None for e in c.expressions)]
    if not judged:
        raise InputError(
            f"ablate needs ground truth to compare settings, and data set {reference.config['data']['dataset']} gives "
            f"none for these {len(good)} clips; take a split that has it, such as train, or data=shapes"
        )
    return judged, {n: "; ".join(p) for n, p in problems.items()}


def _weights(request: Request, reference: Recipe, clips: Sequence[Clip], scored: Callable) -> Outcome:
    """Searches on one half of the clips, reports on the other; `scored` gives rows of clips and settings."""
    options = request.options
    step = weights.vote_step(reference, options["step"])
    search, report = weights.halves(clips, options["seed"])
    settings = reference.steps[step].settings
    start = tuple(settings.weights or [1] * len(settings.inputs))
    failed: dict[str, str] = {}
    tried: dict[weights.Weights, Row] = {}

    def score(candidates: list[weights.Weights]) -> list[float]:
        compared = [variants.of_weights(reference, step, w) for w in candidates]
        rows, broken = scored(search, compared, f"tried {len(tried)} of {options['budget']}")
        failed.update(broken)
        tried.update(zip(candidates, rows[1:], strict=True))
        return [r.value if r.expressions == rows[0].expressions else math.nan for r in rows[1:]]

    share = not isinstance(settings.threshold, int)
    scores_of = weights.search(start, options["votes"], options["budget"], options["seed"], share, score)
    order = sorted((w for w in scores_of if not math.isnan(scores_of[w])), key=lambda w: -scores_of[w])[:REPORTED]
    rows, broken = scored(report, [tried[w].variant for w in order], "report")
    how = (
        f"the best of {len(scores_of)} weights of step {step} on {len(search)} clips (seed {options['seed']}); the "
        f"interval is of the other {len(report)}, which the search did not see"
    )
    notes = [
        f"weights were searched on {len(search)} clips; the scores of this table are of the other {len(report)}, and "
        f"its rows are sorted by {rows[0].measure} on the half searched, the best there first; ablation.csv has both"
    ]
    return Outcome(rows, notes, how, failed | broken, list(tried.values()), searched=True)


def _gate(request: Request, reference: Recipe, clips: Sequence[Clip]) -> Outcome:
    """Sweeps tau in one pass, and writes gate.csv and its pictures."""
    step = gate.gate_step(reference, request.options["step"])
    gate.check_truth(clips)
    compared = gate.settings(reference, step)
    widest = max((variants.build(reference.name, v.config) for v in compared), key=lambda r: r.gpus)
    configs = json.dumps([v.config for v in compared])
    work = partial(gate_clip, reference.name, configs, step, widest.uses_gpu)

    def scored(clips: Sequence[Clip]) -> dict[str, GateScores]:
        return spread(clips, work, GateScores, widest.engine, "ablate")

    found, failed = gate.compare(reference, step, clips, scored, request.options)
    title = f"{reference.name} on {reference.config['data']['dataset']}: step {step}"
    folders = _folders(reference, request)
    gate_files.write(folders, title, found)
    print(f"every tau: {folders[-1]}/gate.csv; gate and gate_accuracies, .svg and .pdf")
    return Outcome(found.rows, found.notes, found.how, failed, searched=True)


def _ladder(reference: Recipe, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """The best source, its propagation, and what is built of several sources, in order; the recipe with a step less."""
    single = [r for r in rows[1:] if r.variant.step in reference.sources and r.variant.label == r.variant.step]
    best = max((r for r in single if r.expressions), key=lambda r: r.value, default=None)
    best = best.variant.step if best else None  # sources of objects have no score: every step is a rung
    made_of: dict[str, set[str]] = {name: {name} for name in reference.sources}
    for name, step in reference.steps.items():
        made_of[name] = set().union(*(made_of[i] for i in step.masks_from))
    first, second, third, less = [], [], [], []
    for r in rows[1:]:
        name = r.variant.step
        if r.variant.label.startswith("without ") or r.truth_steps:
            less.append(r)
        elif name == best:
            first.append(replace(r, variant=replace(r.variant, label=f"best single source: {name}")))
        elif name in reference.steps and (best is None or made_of[name] == {best} or len(made_of[name]) > 1):
            what = replace(r, variant=replace(r.variant, label=f"+ {name}: {reference.steps[name].op}"))
            (second if made_of[name] == {best} else third).append(what)
    return [*first, *second, *third], less


def _folders(recipe: Recipe, request: Request) -> tuple[Path, Path]:
    """Where an ablation is written: the folder of the run, for the latest, and a folder of its own, which stays."""
    return recipe.out, recipe.out / ABLATIONS / request.folder


def _write(recipe: Recipe, request: Request, outcome: Outcome) -> None:
    """The files of an ablation, their place on report.html, and the table on the terminal."""
    folders = _folders(recipe, request)
    print(files.write(recipe, folders, request.name or "lists", request.title, outcome))
    refresh(recipe.out)
    print(f"results: {folders[-1]}/{files.NAMES}; the latest also in {recipe.out}; report.html there")
