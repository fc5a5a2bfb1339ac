"""The steps of many recipes as one graph for a clip: what recipes share is one node, computed once.

Nodes are called by the keys of the store. Results are taken from the store; what other steps read, and every
propagation, is kept there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.masks import MaskSequence, PackedMasks
from rvos_ensemble.adapters.core.prediction import Prediction, check_prediction
from rvos_ensemble.ensemble.engine.clip_run import message_of
from rvos_ensemble.ensemble.engine.store import Store
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.refine import refine

RIDERS = 10  # propagate steps in one sweep: memory grows with them


class Node(NamedTuple):
    """A source or step of some recipe, and the keys of its inputs by name."""

    recipe: Recipe
    name: str
    inputs: dict[str, str]


class Graph:
    """Computes nodes for one clip.

    Attributes:
        failed: {key: why}.
        inner: keys that other nodes read.
        computed: names of what was computed, not taken from the store.
        pack: keep what votes read in memory, packed: for many votes over the same inputs.
    """

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
            simple = next((k for k, n in ready.items() if not step_of(n).propagator), None)
            if simple:
                done = self.attempt(simple, lambda n=ready[simple]: step_of(n).run(self.clip, by_name(n, results)))
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
        if not self.pack or step_of(node).settings.leftover_double_sigmoid:  # which reads probabilities
            found = self.predictions(node.inputs.values())
        else:
            missing = [i for i in node.inputs.values() if i not in self.packed]
            for i, prediction in self.predictions(missing).items():
                self.packed[i] = {e: _packed(s) for e, s in prediction.items()}
            found = self.packed
        if reason := next((self.failed[i] for i in node.inputs.values() if i in self.failed), None):
            self.failed[key] = reason
            return None
        return by_name(node, found)

    def _source(self, key: str) -> Prediction | None:
        if key not in self.sources:
            node = self.nodes[key]
            adapter = node.recipe.sources[node.name]
            stored = self._stored(key) if adapter.stored else None
            if stored is None:
                stored = self.attempt(key, lambda: check_prediction(adapter.predict(self.clip), self.clip, node.name))
                if stored is None:
                    return None
                stored = self._keep(key, stored) if adapter.stored else stored
            self.sources[key] = stored
        return self.sources[key]

    def _propagate(self, ready: Mapping[str, Node], results) -> dict[str, Prediction | None]:
        """Some of the nodes that propagate with one propagator, in one sweep each way."""
        first = next(iter(ready.values()))
        mover = first.recipe.propagators[step_of(first).propagator]
        riders = [k for k, n in ready.items() if n.recipe.propagators[step_of(n).propagator] is mover]
        riders = riders[: RIDERS if mover.independent else 1]
        jobs = {}
        for key in riders:
            node = ready[key]
            jobs[key] = self.attempt(key, lambda n=node: step_of(n).jobs(self.clip, by_name(n, results)))
        good = [k for k in riders if jobs[k] is not None]

        def sweep(keys: list[str]) -> dict[str, Prediction]:
            moved = iter(
                refine(self.clip, [job for k in keys for job in jobs[k]], mover, first.recipe.engine["cache_mb"])
            )
            return {k: step_of(ready[k]).results(by_name(ready[k], results), moved) for k in keys}

        done: dict[str, Prediction | None] = dict.fromkeys(riders)
        if len(good) > 1:
            with contextlib.suppress(Exception):  # one of them fails, or all at once: each by itself shows which
                return done | sweep(good)
        for key in good:
            done |= self.attempt(key, lambda k=key: sweep([k])) or {}
        return done

    def attempt(self, key: str, function: Callable):
        """What the function returns; None where it fails, and `failed` says why."""
        try:
            return function()
        except (Exception, SystemExit) as e:
            self.failed[key] = message_of(e)
            return None

    def _stored(self, key: str) -> Prediction | None:
        return self.store.load(self.clip.name, self.nodes[key].name, key)

    def _keep(self, key: str, prediction: Prediction) -> Prediction:
        name = self.nodes[key].name
        check_prediction(prediction, self.clip, name)
        self.computed.append(name)
        if key not in self.inner and not getattr(step_of(self.nodes[key]), "propagator", None):
            return prediction
        self.store.save(self.clip.name, name, key, prediction)
        return self._stored(key) or prediction


def step_of(node: Node) -> Step | None:
    return node.recipe.steps.get(node.name)


def by_name(node: Node, results: Mapping[str, Prediction]) -> dict[str, Prediction]:
    return {name: results[key] for name, key in node.inputs.items()}


def _packed(sequence: MaskSequence) -> MaskSequence:
    """Its masks in memory, as votes read them."""
    masks = PackedMasks.pack(sequence.mask(t) for t in range(len(sequence)))
    return sequence.with_(masks=masks, kind="binary")
