"""The scheduler: computes the sources and steps of one or many recipes for a clip.

Results are nodes of a graph, named by the keys of the store, so that what recipes share is one node and is computed
once. A run is the graph of one recipe, an ablation the graph of many. What the store has is not computed; steps that
use the same propagator and are ready at the same time are propagated together, in one sweep in each direction.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.own_code import origin
from rvos_ensemble.adapters.core.prediction import Prediction, check_prediction
from rvos_ensemble.ensemble.engine.failures import message_of
from rvos_ensemble.ensemble.engine.storage.stores import AnyStore
from rvos_ensemble.ensemble.engine.workers.clip_progress import current
from rvos_ensemble.ensemble.recipe.recipe import Recipe
from rvos_ensemble.ensemble.steps.step import Step
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.core.rounds.rounds import propagate_in_rounds

STEPS_PER_SWEEP = 16  # propagating steps in one sweep: memory grows with them


class Node(NamedTuple):
    """A source or step of a recipe, and the keys of what it reads by name."""

    recipe: Recipe
    name: str
    inputs: dict[str, str]

    @property
    def component(self) -> Adapter | Step:
        """The adapter of a source, or the step."""
        return self.recipe.sources.get(self.name) or self.recipe.steps[self.name]

    @property
    def step(self) -> Step | None:
        """The step; None for a source."""
        return self.recipe.steps.get(self.name)

    @property
    def propagator(self) -> Propagator | None:
        """The propagator that the step needs; None for other steps and for sources."""
        return self.recipe.propagators[self.step.propagator] if self.step and self.step.propagator else None

    @property
    def runs_network(self) -> bool:
        """Whether most time is likely spent on it: propagation, or a source whose masks are not on disk."""
        return self.propagator is not None or (self.step is None and self.component.stored)


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

    def __init__(
        self, clip: Clip, store: AnyStore, nodes: Mapping[str, Node], save_all: bool = True, stop: bool = False
    ):
        self.clip, self.store, self.nodes, self.save_all, self.stop = clip, store, nodes, save_all, stop
        self.inner = {key for node in nodes.values() for key in node.inputs.values()}
        self.failures: dict[str, Failure] = {}
        self.computed: list[str] = []
        self.seconds: dict[str, float] = {}
        self.progress = current()
        self._unsaved: dict[str, Prediction] = {}  # of sources whose masks are on disk already

    def predictions(self, keys: Iterable[str]) -> dict[str, Prediction]:
        """The results of nodes, in the order of the keys; those that failed are missing, see `failures`."""
        keys = list(keys)
        results: dict[str, Prediction] = {}
        waiting: dict[str, Node] = {}

        def visit(key: str) -> None:
            if key in results or key in waiting or key in self.failures:
                return
            node = self.nodes[key]
            stored = self._unsaved.get(key) or self.store.load(self.clip.name, node.name, key)
            if stored is not None:
                results[key] = stored
                return
            for i in node.inputs.values():
                visit(i)
            waiting[key] = node

        for key in keys:
            visit(key)
        self.progress.expect({node.name: node.runs_network for node in waiting.values()})
        while waiting and not (self.stop and self.failures):
            for key, node in list(waiting.items()):
                if reason := next((self.failures[i] for i in node.inputs.values() if i in self.failures), None):
                    self.failures[key] = Failure(reason.message, "", reason.bad_input)
                    del waiting[key]
            if not waiting:
                break
            batch = _batch({k: n for k, n in waiting.items() if all(i in results for i in n.inputs.values())})
            results |= self._compute(batch, results)
            for key in batch:
                del waiting[key]
        return {key: results[key] for key in keys if key in results}

    def fail(self, key: str, error: BaseException) -> None:
        """Records why a node cannot be computed; called while the exception is being handled."""
        node = self.nodes[key]
        where = f"{'step' if node.step else 'source'} {node.name}"
        message = message_of(error, where, type(node.component).file)
        self.failures[key] = Failure(message, traceback.format_exc(), isinstance(error, InputError))

    def _compute(self, batch: list[str], results: Mapping[str, Prediction]) -> dict[str, Prediction]:
        """Computes and stores a batch of nodes. If a sweep fails, each of its steps is tried by itself."""
        started = time.perf_counter()
        inputs = {k: {name: results[i] for name, i in self.nodes[k].inputs.items()} for k in batch}
        try:
            with self.progress.running([self.nodes[key].name for key in batch]):
                done = {key: self._keep(key, prediction) for key, prediction in self._run(batch, inputs)}
        except (Exception, SystemExit) as error:
            if len(batch) > 1:  # one of them failed, or memory did not suffice for all of them
                return {k: p for key in batch for k, p in self._compute([key], results).items()}
            self.fail(batch[0], error)
            done = {}
        for key in batch:
            name = self.nodes[key].name
            self.seconds[name] = self.seconds.get(name, 0.0) + (time.perf_counter() - started) / len(batch)
        return done

    def _run(
        self, batch: list[str], inputs: Mapping[str, Mapping[str, Prediction]]
    ) -> Iterator[tuple[str, Prediction]]:
        """The new predictions of a batch, see `_batch`."""
        first = self.nodes[batch[0]]
        if not first.step:
            yield batch[0], first.component.predict(self.clip)
        elif not first.propagator:
            yield batch[0], first.step.run(self.clip, inputs[batch[0]])
        else:
            steps, tasks = {}, []
            for key in batch:
                try:
                    tasks += self.nodes[key].step.tasks(self.clip, inputs[key])
                    steps[key] = self.nodes[key].step
                except (Exception, SystemExit) as error:  # the others share the sweep without it
                    self.fail(key, error)
            propagated = iter(propagate_in_rounds(self.clip, tasks, first.propagator, first.recipe.engine["cache_mb"]))
            yield from ((key, step.results(inputs[key], propagated)) for key, step in steps.items())

    def _keep(self, key: str, prediction: Prediction) -> Prediction:
        """Validates a new result and stores it; as it is read from the store, compressed, it takes less memory."""
        node = self.nodes[key]
        check_prediction(prediction, self.clip, node.name, origin(node.component, "run" if node.step else "predict"))
        self.computed.append(node.name)
        if not node.step and not node.component.stored:
            self._unsaved[key] = prediction
        elif self.save_all or not node.step or key in self.inner or node.propagator:
            self.store.save(self.clip.name, node.name, key, prediction)
            return self.store.load(self.clip.name, node.name, key) or prediction
        return prediction


def _batch(ready: Mapping[str, Node]) -> list[str]:
    """Keys of the nodes to compute next: one without a propagator, or all that can share a sweep."""
    plain = next((key for key, node in ready.items() if not node.propagator), None)
    if plain or not ready:
        return [plain] if plain else []
    propagator = next(iter(ready.values())).propagator
    keys = [key for key, node in ready.items() if node.propagator is propagator]
    return keys[: STEPS_PER_SWEEP if propagator.independent else 1]
