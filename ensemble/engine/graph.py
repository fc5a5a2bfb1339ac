"""The scheduler: computes the sources and steps of one or many recipes for a clip.

Results are nodes of a graph, named by the keys of the store, so that what recipes share is one node and is computed
once. A run is the graph of one recipe, an ablation the graph of many. What the store has is not computed; steps that
use the same propagator and are ready at the same time are propagated together, in one sweep in each direction.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.prediction import Prediction, check_prediction
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.store import Store
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.core.refine import refine

STEPS_PER_SWEEP = 10  # propagating steps in one sweep: memory grows with them


class Node(NamedTuple):
    """A source or step of a recipe, and the keys of what it reads by name."""

    recipe: Recipe
    name: str
    inputs: dict[str, str]

    @property
    def step(self) -> Step | None:
        """The step; None for a source."""
        return self.recipe.steps.get(self.name)

    @property
    def propagator(self) -> Propagator | None:
        """The propagator that the step needs; None for other steps and for sources."""
        return self.recipe.propagators[self.step.propagator] if self.step and self.step.propagator else None

    def by_name(self, results: Mapping[str, Prediction]) -> dict[str, Prediction]:
        """What it reads, by name, out of results by key."""
        return {name: results[key] for name, key in self.inputs.items()}


def nodes_of(recipe: Recipe, keys: Mapping[str, str], wanted: Iterable[str]) -> dict[str, Node]:
    """The nodes of some sources and steps and of everything they are made from.

    Args:
        recipe: the recipe.
        keys: of its sources and steps, see `keys_of`.
        wanted: names of sources and steps.
    """
    nodes: dict[str, Node] = {}
    names = list(dict.fromkeys(wanted))
    for name in names:  # grows while it is read
        inputs = recipe.steps[name].inputs if name in recipe.steps else []
        names += [i for i in inputs if i not in names]
        nodes.setdefault(keys[name], Node(recipe, name, {i: keys[i] for i in inputs}))
    return nodes


@dataclass(frozen=True)
class Failure:
    """Why a node could not be computed.

    Attributes:
        message: in one or several lines, for the user.
        trace: the traceback; empty where the node failed because an input did.
        bad_input: whether the user's data are at fault, not a component.
    """

    message: str
    trace: str = ""
    bad_input: bool = False


class Graph:
    """Computes nodes for one clip.

    Args:
        clip: the clip.
        store: where results are kept.
        nodes: {key: node}; inputs of nodes are nodes, too.
        save_all: every result is stored; otherwise only propagated masks and those that other nodes read.
        stop: nothing more is computed after the first failure.

    Attributes:
        failures: {key: why it failed}.
        computed: names of the nodes that were computed, not taken from the store.
        seconds: {name: time spent on it}.
        inner: keys that other nodes read.
    """

    def __init__(self, clip: Clip, store: Store, nodes: Mapping[str, Node], save_all: bool = True, stop: bool = False):
        self.clip, self.store, self.nodes, self.save_all, self.stop = clip, store, nodes, save_all, stop
        self.inner = {key for node in nodes.values() for key in node.inputs.values()}
        self.failures: dict[str, Failure] = {}
        self.computed: list[str] = []
        self.seconds: dict[str, float] = {}
        self._sources: dict[str, Prediction] = {}

    def predictions(self, keys: Iterable[str]) -> dict[str, Prediction]:
        """The results of nodes, in the order of the keys; those that failed are missing, see `failures`."""
        keys = list(keys)
        results: dict[str, Prediction] = {}
        waiting: dict[str, Node] = {}
        for key in keys:
            self._visit(key, results, waiting)
        while waiting and not self._stopped:
            self._drop_hopeless(waiting)
            ready = {k: n for k, n in waiting.items() if all(i in results for i in n.inputs.values())}
            if not ready:
                break
            for key, prediction in self._next(ready, results).items():
                del waiting[key]
                if prediction is not None:
                    results[key] = prediction
        return {key: results[key] for key in keys if key in results}

    def attempt(self, key: str, function: Callable[[], Any]) -> Any:
        """The function's result; None where it raises, and `failures` says why."""
        try:
            return function()
        except (Exception, SystemExit) as error:
            node = self.nodes[key]
            where = f"{'step' if node.step else 'source'} {node.name}"
            message = message_of(error, where, type(node.step or node.recipe.sources[node.name]).file)
            self.failures[key] = Failure(message, traceback.format_exc(), isinstance(error, InputError))
            return None

    @property
    def _stopped(self) -> bool:
        return self.stop and bool(self.failures)

    def _visit(self, key: str, results: dict[str, Prediction], waiting: dict[str, Node]) -> None:
        """Takes a node from the store; a source is computed at once; a step waits for what it reads."""
        if key in results or key in waiting or key in self.failures or self._stopped:
            return
        node = self.nodes[key]
        stored = self._stored(key) if node.step else self._source(key)
        if stored is not None:
            results[key] = stored
        elif key not in self.failures:
            for i in node.inputs.values():
                self._visit(i, results, waiting)
            waiting[key] = node

    def _drop_hopeless(self, waiting: dict[str, Node]) -> None:
        """Nodes of which an input failed fail for the same reason."""
        for key, node in list(waiting.items()):
            reason = next((self.failures[i] for i in node.inputs.values() if i in self.failures), None)
            if reason:
                self.failures[key] = Failure(reason.message, "", reason.bad_input)
                del waiting[key]

    def _next(self, ready: Mapping[str, Node], results: Mapping[str, Prediction]) -> dict[str, Prediction | None]:
        """Computes some of the nodes that are ready: one without a propagator, or all that share a sweep."""
        started = time.perf_counter()
        plain = next((key for key, node in ready.items() if not node.propagator), None)
        if plain:
            node = ready[plain]
            done = {plain: self.attempt(plain, lambda: node.step.run(self.clip, node.by_name(results)))}
        else:
            done = self._propagate(ready, results)
        for key, prediction in done.items():
            if prediction is not None:
                done[key] = self.attempt(key, partial(self._keep, key, prediction))
            started = self._clock(key, started)
        return done

    def _source(self, key: str) -> Prediction | None:
        if key not in self._sources:
            node, started = self.nodes[key], time.perf_counter()
            adapter = node.recipe.sources[node.name]
            prediction = self._stored(key) if adapter.stored else None
            if prediction is None:
                prediction = self.attempt(key, lambda: self._keep(key, adapter.predict(self.clip), adapter.stored))
                self._clock(key, started)
            if prediction is None:
                return None
            self._sources[key] = prediction
        return self._sources[key]

    def _propagate(self, ready: Mapping[str, Node], results: Mapping[str, Prediction]) -> dict[str, Prediction | None]:
        """Nodes that share a propagator, in one sweep in each direction; if that fails, each by itself."""
        first = next(iter(ready.values()))
        keys = [key for key, node in ready.items() if node.propagator is first.propagator]
        keys = keys[: STEPS_PER_SWEEP if first.propagator.independent else 1]
        inputs = {key: ready[key].by_name(results) for key in keys}
        tasks = {key: self.attempt(key, lambda k=key: ready[k].step.tasks(self.clip, inputs[k])) for key in keys}
        good = [key for key in keys if tasks[key] is not None]

        def sweep(keys: list[str]) -> dict[str, Prediction]:
            together = [task for key in keys for task in tasks[key]]
            propagated = iter(refine(self.clip, together, first.propagator, first.recipe.engine["cache_mb"]))
            return {key: ready[key].step.results(inputs[key], propagated) for key in keys}

        done: dict[str, Prediction | None] = dict.fromkeys(keys)
        if len(good) > 1:
            try:
                return done | sweep(good)
            except Exception:  # one of them failed, or memory did not suffice for all: alone, each shows whether it can
                pass
        for key in good:
            done |= self.attempt(key, lambda k=key: sweep([k])) or {}
        return done

    def _stored(self, key: str) -> Prediction | None:
        return self.store.load(self.clip.name, self.nodes[key].name, key)

    def _keep(self, key: str, prediction: Prediction, save: bool = True) -> Prediction:
        """Validates a new result and stores it; as it is read from the store, compressed, it takes less memory."""
        node = self.nodes[key]
        check_prediction(prediction, self.clip, node.name)
        self.computed.append(node.name)
        if not save or not (self.save_all or key in self.inner or node.propagator):
            return prediction
        self.store.save(self.clip.name, node.name, key, prediction)
        return self._stored(key) or prediction

    def _clock(self, key: str, started: float) -> float:
        """Adds the time since `started` to what was spent on a node; returns the time now."""
        now, name = time.perf_counter(), self.nodes[key].name
        self.seconds[name] = self.seconds.get(name, 0.0) + now - started
        return now
