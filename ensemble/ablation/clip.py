"""Scores one clip with all settings of an ablation; what the settings share is computed once.

Votes that no other step reads are never turned into masks: settings that differ only in the threshold share one vote
map, see `ensemble/metrics/threshold_sweep.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import atomic_write
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.ablation.truths import TruthOfMany, truths_of
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.graph import Graph, Node, nodes_of
from rvos_ensemble.ensemble.engine.keys import keys_of
from rvos_ensemble.ensemble.engine.storage.store import key_of
from rvos_ensemble.ensemble.engine.storage.stores import open_store
from rvos_ensemble.ensemble.engine.workers.built import built
from rvos_ensemble.ensemble.metrics.existence import ExpressionScore
from rvos_ensemble.ensemble.metrics.scores import score_many
from rvos_ensemble.ensemble.metrics.threshold_sweep import score_votes
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.step import Step

AT_A_TIME = 16  # number of settings whose masks are in memory together
FORMAT = 2  # of the files with scores; increase it if they change, so that older files are not used


@dataclass
class ClipScores:
    """The scores of a clip.

    Attributes:
        clip, status, error, frames: as in `ClipRecord`.
        scores: for each setting {expression: its scores}; None where the setting failed.
        errors: {index of a setting: why it failed}.
        computed: sources and steps that were computed, not taken from the store.
    """

    clip: str
    status: str = "done"
    error: str = ""
    frames: int = 0
    scores: list[dict[str, ExpressionScore] | None] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)


def score_clip(name: str, configs: str, wanted: Sequence[str], folder: Path, gpu: bool, clip: Clip) -> ClipScores:
    """Scores every setting on a clip. Never raises for what is wrong with the clip: the result says so.

    Args:
        name: of the recipe.
        configs: resolved recipes, one per setting, as the json text of a list.
        wanted: the source or step of each that is scored.
        folder: where scores are kept from one call to the next, one file per clip.
        gpu: whether a component of the recipes uses a GPU.
        clip: with ground truth.
    """
    try:
        return _score(built(name, configs, gpu), wanted, folder, clip)
    except (Exception, SystemExit) as e:  # one bad video never sinks the others
        return ClipScores(clip.name, "failed", message_of(e), len(clip))


def _score(recipes: Sequence[Recipe], names: Sequence[str], folder: Path, clip: Clip) -> ClipScores:
    result = ClipScores(clip.name, frames=len(clip))
    nodes: dict[str, Node] = {}
    wanted: dict[int, str] = {}
    known: dict[int, str] = {}
    for i, (recipe, name) in enumerate(zip(recipes, names, strict=True)):
        try:
            keys = keys_of(recipe, clip, known)
        except Exception as e:  # a file that a setting names, for example
            result.errors[i] = message_of(e)
            continue
        wanted[i] = keys[name]
        nodes = nodes_of(recipe, keys, [name]) | nodes
    kept = _Kept(folder / f"{clip.name}.json", clip.truth.fingerprint())
    todo = [key for key in dict.fromkeys(wanted.values()) if key not in kept.scores]
    if todo:
        graph = Graph(clip, open_store(recipes[0].store), nodes, save_all=False)
        maps = {k: _vote_map(nodes[k]) for k in todo if k not in graph.inner}
        maps = {k: step for k, step in maps.items() if step}
        masks, truths = [k for k in todo if k not in maps], truths_of(clip)
        for start in range(0, len(masks), AT_A_TIME):
            kept.add(_scores_of_masks(graph.predictions(masks[start : start + AT_A_TIME]), truths))
        families: dict[str, list[str]] = {}
        for key, step in maps.items():
            families.setdefault(key_of(step.op, vars(step.settings), list(nodes[key].inputs.values())), []).append(key)
        inputs = _Inputs(graph, pack=len(families) > 2)
        for family in families.values():
            kept.add(_scores_of_votes(graph, inputs, family, truths))
        result.computed = graph.computed
        result.errors |= {i: graph.failures[k].message for i, k in wanted.items() if k in graph.failures}
    result.scores = [kept.scores.get(wanted.get(i, "")) for i in range(len(recipes))]
    return result


class _Inputs:
    """What vote steps read. With `pack`, inputs that are read again and again stay in memory, one bit per pixel."""

    def __init__(self, graph: Graph, pack: bool):
        self.graph, self.pack = graph, pack
        self.packed: dict[str, Prediction] = {}

    def of(self, key: str) -> dict[str, Prediction] | None:
        """The inputs of a node by name; None where one failed."""
        node, graph = self.graph.nodes[key], self.graph
        if not self.pack or node.step.reads_probabilities:
            results = graph.predictions(node.inputs.values())
        else:
            missing = [i for i in node.inputs.values() if i not in self.packed]
            for i, prediction in graph.predictions(missing).items():
                self.packed[i] = {e: _packed(s) for e, s in prediction.items()}
            results = self.packed
        if reason := next((graph.failures[i] for i in node.inputs.values() if i in graph.failures), None):
            graph.failures[key] = reason
            return None
        return {name: results[i] for name, i in node.inputs.items()}


def _packed(sequence: MaskSequence) -> MaskSequence:
    """Its masks in memory, as votes read them."""
    masks = PackedMasks.pack(sequence.mask(t) for t in range(len(sequence)))
    return sequence.with_(masks=masks, kind="binary")


class _Kept:
    """Scores of a clip on disk, {key of a result: {expression: its scores}}; a result is scored once."""

    def __init__(self, file: Path, truth: str):
        self.file, self.truth = file, truth
        try:
            table = json.loads(file.read_text())
            digest = key_of([FORMAT, table["scores"]])
            held = table["scores"] if (table["truth"], table["digest"]) == (truth, digest) else {}
        except (OSError, ValueError, KeyError, TypeError):
            held = {}
        self.scores = {key: {e: ExpressionScore(*s) for e, s in of.items()} for key, of in held.items()}

    def add(self, scores: Mapping[str, dict[str, ExpressionScore]]) -> None:
        self.scores |= scores
        plain = {key: {e: list(s) for e, s in of.items()} for key, of in self.scores.items()}
        table = {"truth": self.truth, "digest": key_of([FORMAT, plain]), "scores": plain}
        atomic_write(
            self.file, json.dumps(table), make=False
        )  # the folder is gone once the ablation of this worker has ended


def _scores_of_masks(
    predictions: Mapping[str, Prediction], truths: Sequence[TruthOfMany]
) -> dict[str, dict[str, ExpressionScore]]:
    """{key: {expression: its scores}} of masks; vote maps have no masks and are left out."""
    scores: dict[str, dict[str, ExpressionScore]] = {}
    for truth in truths:
        ready = {(k, e): p[e] for k, p in predictions.items() for e in truth.expressions if p[e].kind != "votes"}
        for (key, e), found in (score_many(ready, truth.masks) if ready else {}).items():
            scores.setdefault(key, {})[e] = truth.score(found, truth.empty(ready[key, e]))
    return scores


def _scores_of_votes(
    graph: Graph, inputs: _Inputs, family: Sequence[str], truths: Sequence[TruthOfMany]
) -> dict[str, dict[str, ExpressionScore]]:
    """The scores of vote steps that differ in their thresholds alone: one vote map, all thresholds in one pass."""
    first, node = family[0], graph.nodes[family[0]]
    read = inputs.of(first)
    fused = None
    if read is not None:
        try:
            fused = node.step.vote_map().run(graph.clip, read)
        except (Exception, SystemExit) as e:
            graph.fail(first, e)
    if fused is None:
        graph.failures |= dict.fromkeys(family, graph.failures[first])
        return {}
    graph.computed.append(node.name)
    needed: dict[str, dict[str, int | None]] = {}
    for key in family:
        try:
            needed[key] = _votes_needed(graph.nodes[key].step, graph.clip, fused)
        except InputError as e:
            graph.fail(key, e)
    scores: dict[str, dict[str, ExpressionScore]] = {key: {} for key in needed}
    for truth in truths:
        ids = truth.expressions
        maps = {id(fused[e].masks): fused[e] for e in ids}  # expressions of one group share theirs
        votes = {m: s for m, s in maps.items() if s.kind == "votes"}
        counts = {m: {n[e] for n in needed.values() for e in ids if id(fused[e].masks) == m} for m in votes}
        swept = score_votes({m: (s, sorted(counts[m])) for m, s in votes.items() if counts[m]}, truth.masks)
        fixed = {m: s for m, s in maps.items() if m not in votes}
        fixed_scores = score_many(fixed, truth.masks) if fixed else {}
        most = {m: _most_votes(s) if truth.states_presence else 0 for m, s in votes.items()}
        for key, of in needed.items():
            for e in ids:
                m = id(fused[e].masks)
                if m in votes:
                    scores[key][e] = truth.score(swept[m][of[e]], most[m] < of[e])
                else:
                    scores[key][e] = truth.score(fixed_scores[m], truth.empty(fixed[m]))
    return scores


def _most_votes(votes: MaskSequence) -> int:
    """The largest number of votes of any pixel."""
    return max(int(votes.masks[t].max()) for t in range(len(votes)))


def _votes_needed(step: Step, clip: Clip, fused: Prediction) -> dict[str, int | None]:
    """How many votes the step needs for every expression that has a vote map."""
    return {
        e: step.votes_needed(clip, len(s.notes.get("group", [e])), s.total)
        for e, s in fused.items()
        if s.kind == "votes"
    }


def _vote_map(node: Node) -> Step | None:
    return node.step.vote_map() if node.step else None
