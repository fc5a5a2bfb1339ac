"""One clip through all settings of an ablation: what they share is computed once, and of the rest only scores.

The settings' recipes are one graph here, of nodes with the keys of the store: two settings that agree on a step share
its node. Results are taken from the store; what other steps read, and every propagation, is kept there. Votes that
nothing reads are never made into masks: settings that differ in the threshold alone are one vote map, see `sweep`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2

from adapters.sequence import Clip, InputError, MaskSequence, PackedMasks, Prediction, check_prediction
from ensemble.clip_run import keys_of
from ensemble.metrics import score_many
from ensemble.recipe import Recipe
from ensemble.steps import Propagate, Vote, propagate_once
from ensemble.store import Store, atomic_write, key_of
from ensemble.sweep import score_votes

AT_A_TIME = 16  # settings whose masks are in memory together
RIDERS = 8  # propagate steps in one sweep: memory grows with them


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


class Node(NamedTuple):
    """A source or step of some recipe, and the keys of its inputs by name."""

    recipe: Recipe
    name: str
    inputs: dict[str, str]


def score_clip(name: str, plan: str, folder: str, clip: Clip) -> ClipScores:
    """Scores every setting on a clip. Never raises for what is wrong with the clip: the result says so.

    Args:
        name: of the recipe.
        plan: json [[config, step to score], ...].
        folder: where scores are kept from one call to the next, one file a clip.
        clip: with ground truth.
    """
    cv2.setNumThreads(1)  # clips are the unit of parallel work
    try:
        return _score(_built(name, plan), Path(folder), clip)
    except Exception as e:  # one bad video never sinks the others
        return ClipScores(clip.name, "failed", _message(e), len(clip))


@lru_cache(maxsize=2)
def _built(name: str, plan: str) -> list[tuple[Recipe, str]]:
    """The recipes in a worker. Equal sources and propagators are one: models are loaded once a process."""
    shared: dict[str, object] = {}
    built = []
    for config, step in json.loads(plan):
        recipe = Recipe.build(name, config)
        for kind, parts in (("sources", recipe.sources), ("propagators", recipe.propagators)):
            for part in parts:
                parts[part] = shared.setdefault(json.dumps([kind, part, config[kind][part]]), parts[part])
        built.append((recipe, step))
    return built


def _score(settings: Sequence[tuple[Recipe, str]], folder: Path, clip: Clip) -> ClipScores:
    result = ClipScores(clip.name, frames=len(clip))
    nodes: dict[str, Node] = {}
    wanted: dict[int, str] = {}
    known: dict[int, str] = {}
    for i, (recipe, step) in enumerate(settings):
        try:
            keys = keys_of(recipe, clip, known)
        except Exception as e:  # a file that a setting names, for one
            result.errors[i] = _message(e)
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
        bench = _Bench(clip, Store(settings[0][0].store), nodes, failed)
        inner = bench.inner
        masks = [k for k in todo if k in inner or not _is_vote(nodes[k])]
        votes = [k for k in todo if k not in masks]
        truths = _truths(clip)
        for start in range(0, len(masks), AT_A_TIME):
            kept.add(_scores_of_masks(bench.predictions(masks[start : start + AT_A_TIME]), truths))
        families: dict[str, list[str]] = {}
        for key in votes:
            families.setdefault(_family(nodes[key]), []).append(key)
        bench.pack = len(families) > 2  # read again and again: worth unpacking once
        for family in families.values():
            kept.add(_scores_of_votes(bench, family, truths))
        result.computed = bench.computed
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
        atomic_write(self.file, json.dumps(table))


class _Bench:
    """Computes nodes of the graph for one clip."""

    def __init__(self, clip: Clip, store: Store, nodes: Mapping[str, Node], failed: dict[str, str]):
        self.clip, self.store, self.nodes, self.failed = clip, store, nodes, failed
        self.inner = {key for node in nodes.values() for key in node.inputs.values()}
        self.sources: dict[str, Prediction] = {}
        self.packed: dict[str, Prediction] = {}
        self.computed: list[str] = []
        self.pack = False

    def predictions(self, keys: Iterable[str]) -> dict[str, Prediction]:
        """The results of nodes; those that fail are missing, and `failed` says why."""
        keys, results, waiting = list(keys), {}, {}

        def visit(key: str) -> None:
            if key in results or key in waiting or key in self.failed:
                return
            node = self.nodes[key]
            stored = self._source(key) if node.name in node.recipe.sources else self._stored(key)
            if stored is not None:
                results[key] = stored
            elif key not in self.failed:
                for i in node.inputs.values():
                    visit(i)
                waiting[key] = node

        for key in keys:
            visit(key)
        while waiting:
            for key, node in list(waiting.items()):
                if reason := next((self.failed[i] for i in node.inputs.values() if i in self.failed), None):
                    self.failed[key] = reason
                    del waiting[key]
            ready = {k: n for k, n in waiting.items() if all(i in results for i in n.inputs.values())}
            simple = next((k for k, n in ready.items() if not isinstance(_step(n), Propagate)), None)
            if simple:
                done = self._attempt(simple, lambda n=ready[simple]: _step(n).run(self.clip, _by_name(n, results)))
                done = {simple: done}
            elif ready:
                done = self._propagate(ready, results)
            else:
                break
            for key, prediction in done.items():
                del waiting[key]
                if prediction is not None:
                    results[key] = self._keep(key, prediction)
        return {key: results[key] for key in keys if key in results}

    def inputs(self, key: str) -> dict[str, Prediction] | None:
        """What a node reads, by name; None where that failed."""
        node = self.nodes[key]
        if not self.pack or _step(node).settings["leftover_double_sigmoid"]:  # which reads probabilities
            found = self.predictions(node.inputs.values())
        else:
            missing = [i for i in node.inputs.values() if i not in self.packed]
            for i, prediction in self.predictions(missing).items():
                self.packed[i] = {e: _packed(s) for e, s in prediction.items()}
            found = self.packed
        if reason := next((self.failed[i] for i in node.inputs.values() if i in self.failed), None):
            self.failed[key] = reason
            return None
        return _by_name(node, found)

    def _source(self, key: str) -> Prediction | None:
        if key not in self.sources:
            node = self.nodes[key]
            adapter = node.recipe.sources[node.name]
            stored = self._stored(key) if adapter.stored else None
            if stored is None:
                stored = self._attempt(key, lambda: adapter.predict(self.clip))
                if stored is None:
                    return None
                stored = self._keep(key, stored) if adapter.stored else check_prediction(stored, self.clip, node.name)
            self.sources[key] = stored
        return self.sources[key]

    def _propagate(self, ready: Mapping[str, Node], results) -> dict[str, Prediction | None]:
        """Some of the nodes that propagate with one propagator, in one sweep each way."""
        first = next(iter(ready.values()))
        mover = first.recipe.propagators[_step(first).settings["with"]]
        riders = [k for k, n in ready.items() if n.recipe.propagators[_step(n).settings["with"]] is mover][:RIDERS]
        jobs = {}
        for key in riders:
            node = ready[key]
            jobs[key] = self._attempt(key, lambda n=node: _step(n).jobs(self.clip, _by_name(n, results)))
        good = [k for k in riders if jobs[k] is not None]
        done = dict.fromkeys(riders)
        if good:
            moved = iter(propagate_once([job for k in good for job in jobs[k]], self.clip, mover))
            done |= {k: {e.id: next(moved) for e in self.clip.expressions} for k in good}
        return done

    def _attempt(self, key: str, function):
        try:
            return function()
        except Exception as e:
            self.failed[key] = _message(e)
            return None

    def _stored(self, key: str) -> Prediction | None:
        return self.store.load(self.clip.name, self.nodes[key].name, key)

    def _keep(self, key: str, prediction: Prediction) -> Prediction:
        name = self.nodes[key].name
        check_prediction(prediction, self.clip, name)
        self.computed.append(name)
        if key not in self.inner and not isinstance(_step(self.nodes[key]), Propagate):
            return prediction
        self.store.save(self.clip.name, name, key, prediction)
        return self._stored(key) or prediction


def _scores_of_masks(predictions: Mapping[str, Prediction], truths) -> dict[str, dict[str, tuple[float, float]]]:
    """{key: {expression: (J, F)}} of masks; vote maps have no masks and give nothing."""
    scores: dict[str, dict[str, tuple[float, float]]] = {}
    for truth, ids in truths:
        ready = {(k, e): p[e] for k, p in predictions.items() for e in ids if p[e].kind != "votes"}
        for (key, e), found in (score_many(ready, truth) if ready else {}).items():
            scores.setdefault(key, {})[e] = found.mean()[:2]
    return scores


def _scores_of_votes(bench: _Bench, family: Sequence[str], truths) -> dict[str, dict[str, tuple[float, float]]]:
    """The same of vote steps that differ in their thresholds alone: one vote map, all thresholds."""
    node = bench.nodes[family[0]]
    inputs = bench.inputs(family[0])
    step = _step(node)
    settings = {**step.settings, "threshold": None}
    if settings["leftover"] != "first":
        settings["leftover"] = "vote"
    fused = None
    if inputs is not None:
        fused = bench._attempt(family[0], lambda: Vote(step.name, **settings).run(bench.clip, inputs))
    if fused is None:
        bench.failed |= dict.fromkeys(family, bench.failed[family[0]])
        return {}
    bench.computed.append(node.name)
    needed: dict[str, dict[str, int | None]] = {}
    for key in family:
        of_step = _step(bench.nodes[key])
        try:
            needed[key] = {
                e: of_step.votes_needed(bench.clip, len(s.notes.get("group", [e])), s.total)
                for e, s in fused.items()
                if s.kind == "votes"
            }
        except InputError as e:
            bench.failed[key] = _message(e)
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
    settings = {**_step(node).settings, "threshold": None}
    if settings["leftover"] != "first":
        settings["leftover"] = "vote"
    return key_of(settings, list(node.inputs.values()))


def _is_vote(node: Node) -> bool:
    step = _step(node)
    return isinstance(step, Vote) and step.settings["threshold"] is not None


def _step(node: Node):
    return node.recipe.steps.get(node.name)


def _by_name(node: Node, results: Mapping[str, Prediction]) -> dict[str, Prediction]:
    return {name: results[key] for name, key in node.inputs.items()}


def _packed(sequence: MaskSequence) -> MaskSequence:
    """Its masks in memory, as votes read them."""
    masks = PackedMasks.pack(sequence.mask(t) for t in range(len(sequence)))
    return sequence.with_(masks=masks, kind="binary")


def _message(e: Exception) -> str:
    if isinstance(e, (InputError, OSError)):
        return str(e)
    where = traceback.extract_tb(e.__traceback__)[-1]
    return f"{type(e).__name__}: {e} ({Path(where.filename).name}:{where.lineno})"
