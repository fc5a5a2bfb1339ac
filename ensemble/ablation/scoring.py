"""Scores settings on clips, in parallel; scores are kept on disk, so that none is computed twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.clip import ClipScores, score_clip
from rvos_ensemble.ensemble.ablation.rows import REFERENCE, Row, row
from rvos_ensemble.ensemble.ablation.variants import Variant, build
from rvos_ensemble.ensemble.engine.workers.workers import spread
from rvos_ensemble.ensemble.metrics.gains import Scores
from rvos_ensemble.ensemble.recipe.recipe import Recipe


@dataclass(frozen=True)
class Scorer:
    """Scores settings of a recipe.

    Attributes:
        reference: the recipe as it is.
        kept: the folder where scores are kept.
        options: of the ablation: `seed` and `resamples`.
    """

    reference: Recipe
    kept: Path
    options: Mapping[str, Any]

    @property
    def own(self) -> Variant:
        """The recipe as it is."""
        return Variant(REFERENCE, self.reference.config, self.reference.output)

    def records(self, clips: Sequence[Clip], compared: Sequence[Variant], title: str) -> dict[str, ClipScores]:
        """{clip: scores of all settings}, in the order of the clips' names."""
        configs, wanted = json.dumps([v.config for v in compared]), [v.step for v in compared]
        recipes = [build(self.reference.name, v.config) for v in compared]
        widest = max(recipes, key=lambda r: r.gpus)  # a setting may need GPUs where the recipe as it is does not
        work = partial(score_clip, self.reference.name, configs, wanted, self.kept, widest.uses_gpu)
        return dict(sorted(spread(clips, work, ClipScores, widest.engine, title).items()))

    def rows(
        self, clips: Sequence[Clip], compared: Sequence[Variant], title: str = "ablate"
    ) -> tuple[list[Row], dict[str, str]]:
        """A row for the reference and each setting; {clip: why it is left out}.

        Raises:
            InputError: no clip could be scored with the recipe as it is.
        """
        everything = [self.own, *compared]
        good, failed = usable(self.records(clips, everything, title))
        first = {n: r.scores[0] for n, r in good.items()}
        rows = []
        for i, variant in enumerate(everything):
            scores = {n: r.scores[i] for n, r in good.items() if r.scores[i]}
            error = next((r.errors[i] for r in good.values() if i in r.errors), "")
            rows.append(self.row(variant, scores, first, error))
        return rows, failed

    def row(self, variant: Variant, scores: Scores, reference: Scores, error: str = "") -> Row:
        """The row of a setting, from its scores and those of the recipe as it is."""
        plain = row(variant, scores, reference, self.options["seed"], self.options["resamples"], error)
        return replace(plain, truth_steps=build(self.reference.name, variant.config).truth_steps(variant.step))


def usable(records: Mapping[str, ClipScores]) -> tuple[dict[str, ClipScores], dict[str, str]]:
    """The records of clips that the recipe as it is, the first setting, could be scored on; {clip: why it is left out}.

    Raises:
        InputError: there are none.
    """
    failed = {n: r.error for n, r in records.items() if r.status == "failed"}
    failed |= {n: r.errors[0] for n, r in records.items() if 0 in r.errors}
    good = {n: r for n, r in records.items() if n not in failed}
    if not any(r.scores[0] for r in good.values()):
        raise InputError([f"{n}: {why}" for n, why in failed.items()] or ["no expression has ground truth"])
    return good, failed
