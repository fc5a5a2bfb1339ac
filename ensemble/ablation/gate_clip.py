"""Scores one clip with and without its masks emptied, from which the scores at every tau of a gate follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.ensemble.ablation.truths import truths_of
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.graph import Graph, nodes_of
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.storage.stores import open_store
from rvos_ensemble.ensemble.engine.workers.built import built
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.metrics.scores import score_many
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.gate import emptied


class Gated(NamedTuple):
    """An expression at a gate.

    Attributes:
        presence: the fused presence, which is compared with tau; None if no juror has an opinion.
        kept, emptied: scores of the masks as they are, and of empty masks.
        decisions: for each recipe, whether its gate empties the masks.
    """

    presence: float | None
    kept: ExpressionScore
    emptied: ExpressionScore
    decisions: tuple[bool, ...]

    def at(self, tau: float) -> ExpressionScore:
        """The scores of the gate with a tau."""
        return self.emptied if self.presence is not None and self.presence < tau else self.kept

    def decided_by(self, i: int) -> ExpressionScore:
        """The scores of the gate of recipe i."""
        return self.emptied if self.decisions[i] else self.kept


@dataclass
class GateScores:
    """The expressions of a clip that have ground truth.

    Attributes:
        clip, status, error, frames: as in `ClipRecord`.
        expressions: {expression: its scores}.
    """

    clip: str
    status: str = "done"
    error: str = ""
    frames: int = 0
    expressions: Mapping[str, Gated] = field(default_factory=dict)


def gate_clip(name: str, configs: str, step: str, gpu: bool, clip: Clip) -> GateScores:
    """Scores a clip. Never raises for what is wrong with the clip: the result says so.

    Args:
        name: of the recipe.
        configs: resolved recipes that differ in the settings of the gate alone, as the json text of a list. The fused
            presence is that of the first.
        step: the gate.
        gpu: whether a component of the recipes uses a GPU.
        clip: with ground truth.
    """
    try:
        return GateScores(clip.name, frames=len(clip), expressions=_expressions(built(name, configs, gpu), step, clip))
    except (Exception, SystemExit) as e:  # one bad video never sinks the others
        return GateScores(clip.name, "failed", message_of(e), len(clip))


def _expressions(recipes: list[Recipe], step: str, clip: Clip) -> dict[str, Gated]:
    keys = [keys_of(recipe, clip) for recipe in recipes]
    nodes = {k: n for recipe, of in zip(recipes, keys, strict=True) for k, n in nodes_of(recipe, of, [step]).items()}
    graph = Graph(clip, open_store(recipes[0].store), nodes, save_all=False)
    source = keys[0][recipes[0].steps[step].masks_from[0]]
    wanted = [source, *(of[step] for of in keys)]
    results = graph.predictions(wanted)
    if graph.failures:
        raise InputError(next(iter(graph.failures.values())).message)
    masks, *gates = (results[key] for key in wanted)
    expressions = {}
    for truth in truths_of(clip):
        sequences = {
            (e, empty): emptied(masks[e]) if empty else masks[e] for e in truth.expressions for empty in (0, 1)
        }
        scores = score_many(sequences, truth.masks)
        for e in truth.expressions:
            decided = gates[0][e].notes["gate"]["decision"] != "undecided"
            expressions[e] = Gated(
                gates[0][e].presence if decided else None,
                truth.score(scores[e, 0], masks[e].is_empty()),
                truth.score(scores[e, 1], True),
                tuple(gate[e].notes["gate"]["decision"] == "emptied" for gate in gates),
            )
    return expressions
