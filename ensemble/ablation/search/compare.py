"""Searches settings on one half of the clips, and reports the best of them on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation import variants
from rvos_ensemble.ensemble.ablation.results.outcome import Outcome
from rvos_ensemble.ensemble.ablation.rows import Row
from rvos_ensemble.ensemble.ablation.scoring import Scorer, usable
from rvos_ensemble.ensemble.ablation.search import trials
from rvos_ensemble.ensemble.ablation.search.shares import Shares
from rvos_ensemble.ensemble.ablation.search.space import Space, number_of_settings
from rvos_ensemble.ensemble.ablation.search.trials import Tried, Values, name_of
from rvos_ensemble.ensemble.ablation.settings import Request, full_paths
from rvos_ensemble.ensemble.ablation.variants import Variant
from rvos_ensemble.ensemble.ablation.weights import halves
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.metrics.gains import Scores
from rvos_ensemble.ensemble.recipe.recipe import Recipe

REPORTED = 10  # settings that are reported on the other half


def space_of(request: Request, reference: Recipe) -> Space:
    """What is searched, {full path of a key: what may be tried}, before anything is computed.

    Raises:
        InputError: Optuna is not installed, unknown keys, or values that the recipe refuses.
    """
    trials.load_optuna()
    paths = full_paths(request.space, reference.config, "search")
    problems: list[str] = []
    for path, values in zip(paths.values(), request.space.values(), strict=True):
        for value in values.ends:
            try:
                variants.of_values(request, {path: value})
            except InputError as e:
                problems += e.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return {paths[key]: values for key, values in request.space.items()}


def compare(request: Request, reference: Recipe, clips: Sequence[Clip], scorer: Scorer) -> Outcome:
    """The best settings of a search.

    Args:
        request: what is searched.
        reference: the recipe as it is.
        clips: with ground truth.
        scorer: scores settings on clips.
    """
    options = request.options
    searched, reported = halves(clips, options["seed"], request.title)
    half, failed = _Half.start(request, scorer, searched)
    parts = trials.parts_of(len(half.clips))
    space = space_of(request, reference)
    start = {key: _lookup(reference.config, key) for key in space}
    tried = trials.search(space, start, parts, options["budget"], options["seed"], half.score, options["prune"])
    complete = _best_first(tried)[:REPORTED]
    rows, broken = scorer.rows(reported, [half.variants[name_of(t.values)] for t in complete], "report")
    notes = [
        f"settings were searched on {len(half.clips)} clips; the scores of this table are of the other "
        f"{len(reported)}, and its rows are sorted by {rows[0].measure} on the half searched, the best there first; "
        "of settings that score the same on each clip, the first is listed; ablation.csv has all"
    ]
    if len(tried) < min(options["budget"], number_of_settings(space)):
        notes.append(f"the search ended after {len(tried)} settings: only known ones were proposed")
    kept = not complete or complete[0].gain < 1e-12
    how = _how(tried, kept, len(half.clips), len(reported), options["seed"])
    return Outcome(rows, [*notes, *half.notes], how, failed | broken, [half.row(t) for t in tried], True, kept)


def _best_first(tried: Sequence[Tried]) -> list[Tried]:
    """The settings that were scored on all clips; of several with the same score on each clip, the first."""
    distinct: dict[tuple[float, ...], Tried] = {}
    for t in tried:
        if t.state == "complete":
            distinct.setdefault(tuple(round(gain, 12) for gain in t.gains), t)
    return sorted(distinct.values(), key=lambda t: -t.gain)


def _how(tried: Sequence[Tried], kept: bool, searched: int, reported: int, seed: int) -> str:
    """How the best setting was chosen, in words."""
    stopped = sum(t.state == "stopped" for t in tried)
    settings = f"{len(tried)} settings" + (f", of which {stopped} were stopped early," if stopped else "")
    clips = f"on {searched} clips (seed {seed})"
    if kept:
        return f"the recipe as it is, because none of {settings} scores higher {clips}"
    other = f"the interval is of the other {reported}, which the search did not see"
    return f"the best of {settings} {clips}; {other}"


@dataclass
class _Half:
    """The half of the clips that is searched.

    Attributes:
        request, scorer: see `compare`.
        clips: those that the recipe as it is can be scored on, in the order in which settings are scored on them.
        reference: {clip: scores of the recipe as it is}.
        shares: the contribution of a clip to the score.
        variants: {name of a setting: the recipe with it}.
        scores: {name of a setting: {clip: its scores}}.
        errors: {name of a setting: why it failed}.
        notes: for the reader.
    """

    request: Request
    scorer: Scorer
    clips: list[Clip]
    reference: Scores
    shares: Shares
    variants: dict[str, Variant] = field(default_factory=dict)
    scores: dict[str, dict[str, Mapping[str, ExpressionScore]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, request: Request, scorer: Scorer, clips: Sequence[Clip]) -> tuple[_Half, dict[str, str]]:
        """Scores the recipe as it is; {clip: why it is left out}."""
        good, failed = usable(scorer.records(clips, [scorer.own], "the recipe as it is"))
        reference = {n: r.scores[0] for n, r in good.items() if r.scores[0]}
        order = np.random.default_rng(request.options["seed"]).permutation(len(clips))
        shuffled = [clips[i] for i in order if clips[i].name in reference]
        return cls(request, scorer, shuffled, reference, Shares.of(reference.values())), failed

    def score(self, settings: Sequence[Values], first: int, last: int) -> list[list[float] | None]:
        """The gains of settings on clips `first` to `last`, exclusive; None for a setting that fails on one of them."""
        names, clips = [*map(name_of, settings)], self.clips[first:last]
        for name, values in zip(names, settings, strict=True):
            if name not in self.variants:
                self._build(name, values)
        compared = [name for name in names if name not in self.errors]
        title = f"search: {len(self.variants)} of at most {self.request.options['budget']} settings"
        records = self.scorer.records(clips, [self.variants[n] for n in compared], title) if compared else {}
        for i, name in enumerate(compared):
            for clip, record in records.items():
                if record.status == "failed" or record.scores[i] is None:
                    self.errors.setdefault(name, record.errors.get(i, record.error))
                else:
                    self.scores[name][clip] = record.scores[i]
        return [None if name in self.errors else [self._gain(name, c.name) for c in clips] for name in names]

    def row(self, tried: Tried) -> Row:
        """The row of a trial on this half."""
        name = name_of(tried.values)
        error = self.errors.get(name, "")
        if tried.state == "stopped":
            error = f"stopped after {len(tried.gains)} of {len(self.clips)} clips: worse than the best so far"
        return self.scorer.row(self.variants[name], self.scores[name], self.reference, error)

    def _build(self, name: str, values: Values) -> None:
        """The recipe with some values; a combination that the recipe refuses is a setting that failed."""
        self.scores[name] = {}
        try:
            self.variants[name], notes = variants.of_values(self.request, values)
        except InputError as e:
            self.errors[name] = e.problems[0]
            own = self.scorer.own
            self.variants[name] = replace(own, label=variants.label_of(values), parameters=dict(values))
        else:
            self.notes += [n for n in notes if n not in self.notes]

    def _gain(self, name: str, clip: str) -> float:
        """What a clip contributes to the gain of a setting over the recipe as it is."""
        return self.shares(self.scores[name][clip]) - self.shares(self.reference[clip])


def _lookup(config: Mapping[str, Any], path: str) -> Any:
    """The value at a path of a config; None if there is none."""
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
