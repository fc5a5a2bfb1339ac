"""The graph of a clip: what follows from a source that fails."""

from rvos_ensemble.adapters.core.clip import Clip, Expression
from rvos_ensemble.ensemble.engine.graph import Graph, nodes_of
from rvos_ensemble.ensemble.engine.storage.store import Store
from rvos_ensemble.ensemble.steps.union import Union

CLIP = Clip("v", ("0",), (Expression("v", "0", "the star"),), None)


class Fails:
    """A source that cannot be computed."""

    name, file, stored = "m", None, True

    def predict(self, clip):
        raise ValueError("no such thing")


class Made:
    """What a graph reads of a recipe."""

    sources = {"m": Fails()}
    steps = {"u": Union("u", inputs=["m"]), "w": Union("w", inputs=["u"])}
    propagators = {}


def test_steps_that_read_a_failed_source_fail_for_its_reason(tmp_path):
    """Nothing is left to compute then, which is no error of its own."""
    keys = {"m": "km", "u": "ku", "w": "kw"}
    graph = Graph(CLIP, Store(tmp_path), nodes_of(Made, keys, ["w"]))
    assert graph.predictions(["kw"]) == {} and set(graph.failures) == {"km", "ku", "kw"}
    assert {failure.message for failure in graph.failures.values()} == {graph.failures["km"].message}
    assert "no such thing" in graph.failures["kw"].message
