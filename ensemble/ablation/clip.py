"""One clip through all settings of an ablation: what they share is computed once, and of the rest only scores.

Votes that no other step reads are never made into masks: settings that differ in the threshold alone are one vote map,
see `sweep`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.disk import atomic_write
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction
from rvos_ensemble.ensemble.ablation.graph import Graph, Node, step_of
from rvos_ensemble.ensemble.ablation.variants import build
from rvos_ensemble.ensemble.engine.clip_run import keys_of, message_of
from rvos_ensemble.ensemble.engine.gpus import take_gpu
from rvos_ensemble.ensemble.engine.store import Store, key_of
from rvos_ensemble.ensemble.metrics.scores import score_many
from rvos_ensemble.ensemble.metrics.threshold_sweep import score_votes
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.vote import Vote

AT_A_TIME = 16  # settings whose masks are in memory together


@dataclass
class ClipScores:
    """What became of a clip.

    Attributes:
        clip, status, error, frames: as of a `ClipRecord`.
        scores: for each setting {expression: (J, F)}, the means over frames; None where it failed.
        errors: {setting's number: why}.
        computed: sources and steps that were computed, not taken from the store.
    """

    clip: str
    status: str = "done"
    error: str = ""
    frames: int = 0
    scores: list[dict[str, tuple[float, float]] | None] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)


def score_clip(name: str, plan: str, folder: Path, gpus: int, clip: Clip) -> ClipScores:
    """Scores every setting on a clip. Never raises for what is wrong with the clip: the result says so.

    Args:
        name: of the recipe.
        plan: json [[config, step to score], ...].
        folder: where scores are kept from one call to the next, one file a clip.
        gpus: how many there are for the recipe's components; 0 where none uses one.
        clip: with ground truth.
    """
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    try:
        return _score(_built(name, plan, gpus), folder, clip)
    except (Exception, SystemExit) as e:  # one bad video never sinks the others
        return ClipScores(clip.name, "failed", message_of(e), len(clip))


@lru_cache(maxsize=2)
def _built(name: str, plan: str, gpus: int) -> list[tuple[Recipe, str]]:
    """The recipes in a worker."""
    if gpus:
        take_gpu(gpus)
    return [(build(name, config), step) for config, step in json.loads(plan)]


def _score(settings: Sequence[tuple[Recipe, str]], folder: Path, clip: Clip) -> ClipScores:
    result = ClipScores(clip.name, frames=len(clip))
    nodes: dict[str, Node] = {}
    wanted: dict[int, str] = {}
    known: dict[int, str] = {}
    for i, (recipe, step) in enumerate(settings):
        try:
            keys = keys_of(recipe, clip, known)
        except Exception as e:  # a file that a setting names, for one
            result.errors[i] = message_of(e)
            continue
        wanted[i] = keys[step]
        above = [step]  # and what it is made of, nothing else
        while above:
            name = above.pop()
            inputs = recipe.steps[name].inputs if name in recipe.steps else []
            above += inputs
            nodes.setdefault(keys[name], Node(recipe, name, {n: keys[n] for n in inputs}))
    kept = _Kept(folder / f"{clip.name}.json", clip.truth.fingerprint())
    todo = [key for key in dict.fromkeys(wanted.values()) if key not in kept.scores]
    failed: dict[str, str] = {}
    if todo:
        graph = Graph(clip, Store(settings[0][0].store), nodes, failed)
        inner = graph.inner
        masks = [k for k in todo if k in inner or not _is_vote(nodes[k])]
        votes = [k for k in todo if k not in masks]
        truths = _truths(clip)
        for start in range(0, len(masks), AT_A_TIME):
            kept.add(_scores_of_masks(graph.predictions(masks[start : start + AT_A_TIME]), truths))
        families: dict[str, list[str]] = {}
        for key in votes:
            families.setdefault(_family(nodes[key]), []).append(key)
        graph.pack = len(families) > 2  # read again and again: worth unpacking once
        for family in families.values():
            kept.add(_scores_of_votes(graph, family, truths))
        result.computed = graph.computed
    for i, key in wanted.items():
        if key in failed:
            result.errors[i] = failed[key]
    result.scores = [kept.scores.get(wanted.get(i, "")) for i in range(len(settings))]
    return result


class _Kept:
    """Scores of a clip on disk, {key of a result: {expression: (J, F)}}: what is there is not scored again."""

    def __init__(self, file: Path, truth: str):
        self.file, self.truth = file, truth
        try:
            table = json.loads(file.read_text())
            held = table["scores"] if table["truth"] == truth and table["digest"] == key_of(table["scores"]) else {}
        except (OSError, ValueError, KeyError, TypeError):
            held = {}
        self.scores = {key: {e: (j, f) for e, (j, f) in of.items()} for key, of in held.items()}

    def add(self, scores: Mapping[str, dict[str, tuple[float, float]]]) -> None:
        self.scores |= scores
        plain = {key: {e: list(jf) for e, jf in of.items()} for key, of in self.scores.items()}
        table = {"truth": self.truth, "digest": key_of(plain), "scores": plain}
        atomic_write(self.file, json.dumps(table), make=False)  # gone when the ablation is no longer this worker's


def _scores_of_masks(predictions: Mapping[str, Prediction], truths) -> dict[str, dict[str, tuple[float, float]]]:
    """{key: {expression: (J, F)}} of masks; vote maps have no masks and give nothing."""
    scores: dict[str, dict[str, tuple[float, float]]] = {}
    for truth, ids in truths:
        ready = {(k, e): p[e] for k, p in predictions.items() for e in ids if p[e].kind != "votes"}
        for (key, e), found in (score_many(ready, truth) if ready else {}).items():
            scores.setdefault(key, {})[e] = found.mean()[:2]
    return scores


def _scores_of_votes(graph: Graph, family: Sequence[str], truths) -> dict[str, dict[str, tuple[float, float]]]:
    """The same of vote steps that differ in their thresholds alone: one vote map, all thresholds."""
    node = graph.nodes[family[0]]
    inputs = graph.inputs(family[0])
    step = step_of(node)
    settings = {**vars(step.settings), "threshold": None}
    if settings["leftover"] != "first":
        settings["leftover"] = "vote"
    fused = None
    if inputs is not None:
        fused = graph.attempt(family[0], lambda: Vote(step.name, **settings).run(graph.clip, inputs))
    if fused is None:
        graph.failed |= dict.fromkeys(family, graph.failed[family[0]])
        return {}
    graph.computed.append(node.name)
    needed: dict[str, dict[str, int | None]] = {}
    for key in family:
        of_step = step_of(graph.nodes[key])
        try:
            needed[key] = {
                e: of_step.votes_needed(graph.clip, len(s.notes.get("group", [e])), s.total)
                for e, s in fused.items()
                if s.kind == "votes"
            }
        except InputError as e:
            graph.failed[key] = message_of(e)
    scores: dict[str, dict[str, tuple[float, float]]] = {key: {} for key in needed}
    for truth, ids in truths:
        maps = {id(fused[e].masks): fused[e] for e in ids}  # expressions of one group share theirs
        votes = {m: s for m, s in maps.items() if s.kind == "votes"}
        counts = {m: {n[e] for n in needed.values() for e in ids if id(fused[e].masks) == m} for m in votes}
        swept = score_votes({m: (s, sorted(counts[m])) for m, s in votes.items() if counts[m]}, truth)
        fixed = score_many({m: s for m, s in maps.items() if m not in votes}, truth) if len(maps) > len(votes) else {}
        for key, of in needed.items():
            for e in ids:
                m = id(fused[e].masks)
                scores[key][e] = (swept[m][of[e]] if m in votes else fixed[m]).mean()[:2]
    return scores


def _truths(clip: Clip) -> list[tuple[MaskSequence, list[str]]]:
    """The ground truths of a clip, each once and in memory, with the expressions it is the truth of."""
    found: dict[bytes, tuple[MaskSequence, list[str]]] = {}
    for e in clip.expressions:
        truth = clip.truth.read(e.id)
        if truth is not None:
            masks = PackedMasks.pack(truth.mask(t) for t in range(len(truth)))
            found.setdefault(masks.bits.tobytes(), (MaskSequence(masks), []))[1].append(e.id)
    return list(found.values())


def _family(node: Node) -> str:
    """Equal for votes whose vote maps are."""
    settings = {**vars(step_of(node).settings), "threshold": None}
    if settings["leftover"] != "first":
        settings["leftover"] = "vote"
    return key_of(settings, list(node.inputs.values()))


def _is_vote(node: Node) -> bool:
    step = step_of(node)
    return isinstance(step, Vote) and step.settings.threshold is not None
